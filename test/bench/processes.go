package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticksPerSecond is the unit of times in /proc, the same on every Linux.
const ticksPerSecond = 100

// partBench is this program among the parts whose processor time is taken.
const partBench = "bench"

// partsCPU is the processor time that each part of the cluster has used, and this program. hack/local marks the
// processes of a cluster in their environment.
func (c *cluster) partsCPU() (map[string]float64, error) {
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	own, err := cpuSeconds("self")
	if err != nil {
		return nil, err
	}
	parts := map[string]float64{partBench: own}
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil {
			continue // ended, or another user's
		}
		if part := markedPart(string(environ), c.name); part != "" {
			if cpu, err := cpuSeconds(filepath.Base(filepath.Dir(path))); err == nil {
				parts[part] += cpu
			}
		}
	}
	return parts, nil
}

// markedPart is which part of the cluster a process with this environment is, if any.
func markedPart(environ, cluster string) string {
	for variable := range strings.SplitSeq(environ, "\x00") {
		if marker, ok := strings.CutPrefix(variable, "BATCHRUN_LOCAL="); ok {
			dir, part, _ := strings.Cut(marker, "#")
			if strings.HasSuffix(dir, filepath.Join(localDir, "clusters", cluster)) {
				return part
			}
		}
	}
	return ""
}

// cpuSeconds is the processor time that a process has used.
func cpuSeconds(pid string) (float64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0, err
	}
	return parseCPU(string(stat))
}

// parseCPU reads user and system time off /proc/<pid>/stat.
func parseCPU(stat string) (float64, error) {
	// The name of the program, in parentheses, may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, errors.New("too few fields in /proc/<pid>/stat")
	}
	sum := 0
	for _, field := range []string{fields[user], fields[system]} {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		sum += ticks
	}
	return float64(sum) / ticksPerSecond, nil
}

// kilobytes reads a line such as "VmHWM: 12 kB" of a file of /proc, in bytes.
func kilobytes(path, key string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == key {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in %s", key, path)
}
