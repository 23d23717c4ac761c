package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Client limits of the cluster's controllers.
const (
	limitsRaised  = "raised"
	limitsDefault = "default"
)

// result is what one round showed: a line of the file of results.
type result struct {
	// Session tells the rounds of one program run from those of another.
	Session    string    `json:"session"`
	Time       time.Time `json:"time"`
	Revision   string    `json:"revision"`
	Kubernetes string    `json:"kubernetes"`
	Cores      int       `json:"cores"`
	Memory     int64     `json:"memoryBytes"`

	Limits      string `json:"limits"`
	Kind        string `json:"kind"`
	Runs        int    `json:"runs"`
	Tasks       int    `json:"tasks"` // of all runs
	Parallelism int    `json:"parallelism"`
	Pair        int    `json:"pair"`

	Wall     float64 `json:"wallSeconds"`
	Lag      summary `json:"endToCompleteSeconds"`
	Attempts int     `json:"attempts"`

	Requests requests `json:"requests"`
	// Parts is the processor time of the parts of the cluster, and of this program.
	Parts map[string]float64 `json:"partsCPUSeconds"`

	// Of the operator.
	CPU           float64 `json:"cpuSeconds,omitempty"`
	Peak          int64   `json:"peakBytes,omitempty"`
	Status        int     `json:"statusBytes,omitempty"`
	LargestStatus int     `json:"largestStatusBytes,omitempty"`
	// Settled is what the operator asked for in the time after the round.
	Settled        requests `json:"settled,omitempty"`
	SettledSeconds float64  `json:"settledSeconds,omitempty"`
}

// per1000 is a figure for 1,000 tasks.
func (r result) per1000(figure float64) float64 { return figure * 1000 / float64(r.Tasks) }

// perTask is how many requests of these verbs a party made for a task.
func (r result) perTask(party string, verbs ...string) float64 {
	return r.Requests.sum(party, verbs...) / float64(r.Tasks)
}

// machine tells the cores and the memory of this machine.
func machine() (cores int, memory int64, err error) {
	memory, err = kilobytes("/proc/meminfo", "MemTotal:")
	return runtime.NumCPU(), memory, err
}

// keep adds a result to the file.
func keep(path string, r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n'))
	return errors.Join(err, file.Close())
}

// kept are the results in the file.
func kept(path string) ([]result, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var results []result
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		results = append(results, r)
	}
	return results, lines.Err()
}
