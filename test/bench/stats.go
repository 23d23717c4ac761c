package main

import (
	"math"
	"slices"
)

// summary is what there is to say of some figures.
type summary struct {
	Count            int
	Median, Min, Max float64
	P99              float64
}

func summarize(figures []float64) summary {
	if len(figures) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	return summary{
		Count:  n,
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Min:    sorted[0],
		Max:    sorted[n-1],
		P99:    sorted[int(math.Ceil(0.99*float64(n)))-1], // of fewer than 100 figures, the greatest
	}
}
