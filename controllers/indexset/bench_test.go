package indexset

import "testing"

// alternating is every second index below n: the set with the most ranges.
func alternating(n int) Set {
	var b Builder
	for index := 0; index < n; index += 2 {
		b.Add(index)
	}
	return b.Set()
}

func BenchmarkAlternating(b *testing.B) {
	const n = 100_000
	even := alternating(n)
	odd := Interval(0, n-1).Minus(even)
	text := even.String()

	for name, op := range map[string]func(){
		"Build":     func() { alternating(n) },
		"Parse":     func() { _, _ = Parse(text) },
		"String":    func() { _ = even.String() },
		"Short":     func() { even.Short(4096) },
		"Union":     func() { even.Union(odd) },
		"Minus":     func() { Interval(0, n-1).Minus(even) },
		"Intersect": func() { even.Intersect(odd) },
		"First":     func() { even.First(n / 4) },
		"At":        func() { even.At(n / 4) },
		"Position":  func() { even.Position(n / 2) },
		"All": func() {
			for range even.All() {
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				op()
			}
		})
	}
}
