// Command task is the workload of the e2e tests. Its arguments are steps, separated by "then":
//
//	print WORD...            prints the words
//	index WORD               prints the index of the task, as each variable has it, and the word
//	sleep DURATION [from INDEX]
//	                         waits, and exits with 143 when it is told to stop; with a condition, only tasks from
//	                         that index on
//	allocate MEBIBYTES       takes memory, and keeps it
//	write FILE MEBIBYTES     writes a file of that size
//	exit CODE [below WAVE [every N]]
//	                         exits; with a condition, only in waves with a smaller number than WAVE, and only
//	                         tasks whose index is a multiple of N
//	fail CODE [every N]      exits the first time that the task does this; with a condition, only tasks whose index is
//	                         a multiple of N. The folder /marks, which all attempts share, remembers it.
//	parameters NAME...       prints these variables, as NAME=value
//
// It reads the number of its wave from the variable WAVE.
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

func sleep(args []string) error {
	duration, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		from, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		index, err := strconv.Atoi(os.Getenv("BATCHRUN_TASK_INDEX"))
		if err != nil || index < from {
			return err
		}
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

// numbers reads "3 below 1 every 2" as {code: 3, below: 1, every: 2}.
func numbers(args []string) (map[string]int, error) {
	numbers := map[string]int{}
	words := append([]string{"code"}, args...)
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		if err != nil {
			return nil, err
		}
		numbers[words[i]] = n
	}
	return numbers, nil
}

func exit(args []string) error {
	numbers, err := numbers(args)
	if err != nil {
		return err
	}
	if below, ok := numbers["below"]; ok {
		wave, err := strconv.Atoi(os.Getenv("WAVE"))
		if err != nil {
			return err
		}
		if wave >= below {
			return nil
		}
	}
	if every, ok := numbers["every"]; ok {
		index, err := strconv.Atoi(os.Getenv("BATCHRUN_TASK_INDEX"))
		if err != nil {
			return err
		}
		if index%every != 0 {
			return nil
		}
	}
	return exitCode(numbers["code"])
}
