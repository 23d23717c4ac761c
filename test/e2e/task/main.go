// Command task is the workload of the e2e tests. Its arguments are steps, separated by "then":
//
//	print WORD...            prints the words
//	index WORD               prints the index of the task, as each variable has it, and the word
//	lines N                  prints N numbered lines, each with the index of the task
//	sleep DURATION           waits, and exits with 143 when it is told to stop
//	allocate MEBIBYTES       takes memory, and keeps it
//	write FILE MEBIBYTES     writes a file of that size
//	exit CODE                exits
//	fail CODE                exits the first time that the task does this; the folder /marks, which all attempts share,
//	                         remembers it
//	parameters NAME...       prints these variables, as NAME=value
//
// After sleep, exit and fail, conditions can say for whom they are:
//
//	from INDEX               tasks from that index on
//	every N                  tasks whose index is a multiple of N
//	below WAVE               waves with a smaller number, which the variable WAVE has
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const mebibyte = 1 << 20

var steps = map[string]func(args []string) error{
	"print":    printWords,
	"index":    printIndex,
	"lines":    printLines,
	"sleep":    sleep,
	"allocate": allocate,
	"write":    write,
	"exit":     exit,
	"fail":     failOnce,

	"parameters": printParameters,
}

// exitCode is the error of a step that ends the task.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exiting with %d", int(c)) }

func say(format string, args ...any) { fmt.Fprintf(os.Stdout, format+"\n", args...) }

func main() {
	args := os.Args[1:]
	for len(args) > 0 {
		end := slices.Index(args, "then")
		if end < 0 {
			end = len(args)
		}
		if err := do(args[:end]); err != nil {
			say("%s", err)
			if code, ok := errors.AsType[exitCode](err); ok {
				os.Exit(int(code))
			}
			os.Exit(64)
		}
		args = args[min(end+1, len(args)):]
	}
}

func do(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("an empty step")
	}
	step, ok := steps[args[0]]
	if !ok {
		return fmt.Errorf("no such step: %s", args[0])
	}
	return step(args[1:])
}

func printWords(args []string) error {
	say("%s", strings.Join(args, " "))
	return nil
}

func printIndex(args []string) error {
	say("BATCHRUN_TASK_INDEX=%s JOB_COMPLETION_INDEX=%s args=%s",
		os.Getenv("BATCHRUN_TASK_INDEX"), os.Getenv("JOB_COMPLETION_INDEX"), strings.Join(args, " "))
	return nil
}

func printLines(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range n {
		say("task %s, line %d", os.Getenv("BATCHRUN_TASK_INDEX"), i)
	}
	return nil
}

func sleep(args []string) error {
	duration, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	if meant, err := isMeant(args[1:]); err != nil || !meant {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	select {
	case <-time.After(duration):
	case <-stop:
		say("told to stop")
		return exitCode(128 + int(syscall.SIGTERM))
	}
	return nil
}

// kept holds what was allocated.
var kept [][]byte

func allocate(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	for i := range n {
		kept = append(kept, bytes.Repeat([]byte{1}, mebibyte))
		if i%10 == 9 {
			say("%d MiB", i+1)
		}
	}
	return nil
}

func write(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	file, err := os.Create(args[0]) //nolint:gosec // which file it is, is the test's to say
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte{1}, mebibyte)
	for range n {
		if _, err := file.Write(block); err != nil {
			return err
		}
	}
	if err := file.Close(); err != nil {
		return err
	}
	say("wrote %d MiB", n)
	return nil
}

func printParameters(names []string) error {
	texts := make([]string, 0, len(names))
	for _, name := range names {
		texts = append(texts, name+"="+os.Getenv(name))
	}
	say("%s", strings.Join(texts, " "))
	return nil
}

func failOnce(args []string) error {
	mark := "/marks/" + os.Getenv("BATCHRUN_TASK_INDEX")
	if _, err := os.Stat(mark); err == nil { //nolint:gosec // the index is the operator's
		return nil
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil { //nolint:gosec // as above
		return err
	}
	return exit(args)
}

func exit(args []string) error {
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if meant, err := isMeant(args[1:]); err != nil || !meant {
		return err
	}
	return exitCode(code)
}

// isMeant is whether the conditions are true of this task.
func isMeant(conditions []string) (bool, error) {
	for condition := range slices.Chunk(conditions, 2) {
		if len(condition) < 2 {
			return false, fmt.Errorf("%s what?", condition[0])
		}
		limit, err := strconv.Atoi(condition[1])
		if err != nil {
			return false, err
		}
		variable := "BATCHRUN_TASK_INDEX"
		if condition[0] == "below" {
			variable = "WAVE"
		}
		number, err := strconv.Atoi(os.Getenv(variable))
		if err != nil {
			return false, fmt.Errorf("%s: %w", variable, err)
		}
		var meant bool
		switch condition[0] {
		case "from":
			meant = number >= limit
		case "every":
			meant = number%limit == 0
		case "below":
			meant = number < limit
		default:
			return false, fmt.Errorf("no such condition: %s", condition[0])
		}
		if !meant {
			return false, nil
		}
	}
	return true, nil
}
