// Command task is the workload of the e2e tests. Its arguments are steps, separated by "then":
//
//	print WORD...            prints the words
//	index WORD               prints the index of the task, as each variable has it, and the word
//	sleep DURATION           waits, and exits with 143 when it is told to stop
//	allocate MEBIBYTES       takes memory, and keeps it
//	write FILE MEBIBYTES     writes a file of that size
//	exit CODE [below WAVE [every N]]
//	                         exits; with a condition, only in waves with a smaller number than WAVE, and only
//	                         tasks whose index is a multiple of N
//
// It reads the number of its wave from the variable WAVE.
package main

import (
	"bytes"
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
}

func main() {
	args := os.Args[1:]
	for len(args) > 0 {
		end := slices.Index(args, "then")
		if end < 0 {
			end = len(args)
		}
		if err := do(args[:end]); err != nil {
			fmt.Fprintln(os.Stderr, err)
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
	if err := step(args[1:]); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func printWords(args []string) error {
	fmt.Println(strings.Join(args, " "))
	return nil
}

func printIndex(args []string) error {
	fmt.Printf("BATCHRUN_TASK_INDEX=%s JOB_COMPLETION_INDEX=%s args=%s\n",
		os.Getenv("BATCHRUN_TASK_INDEX"), os.Getenv("JOB_COMPLETION_INDEX"), strings.Join(args, " "))
	return nil
}

func sleep(args []string) error {
	duration, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	select {
	case <-time.After(duration):
	case <-stop:
		fmt.Println("told to stop")
		os.Exit(128 + int(syscall.SIGTERM))
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
			fmt.Printf("%d MiB\n", i+1)
		}
	}
	return nil
}

func write(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	file, err := os.Create(args[0])
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
	fmt.Printf("wrote %d MiB\n", n)
	return nil
}

func exit(args []string) error {
	numbers := map[string]int{}
	words := append([]string{"code"}, args...)
	for i := 0; i+1 < len(words); i += 2 {
		n, err := strconv.Atoi(words[i+1])
		if err != nil {
			return err
		}
		numbers[words[i]] = n
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
	fmt.Printf("exiting with %d\n", numbers["code"])
	os.Exit(numbers["code"])
	panic("unreachable")
}
