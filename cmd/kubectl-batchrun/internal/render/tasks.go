package render

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
)

// Tasks is the table of tasks, with the parameters as columns; wide adds what the last attempt said.
func Tasks(tasks []record.Task, parameters []string, wide bool) string {
	header := []string{"TASK"}
	header = append(header, parameters...)
	header = append(header, "STATE", "ATTEMPTS", "REASON", "EXIT CODE", "NODE")
	if wide {
		header = append(header, "POD", "MESSAGE")
	}
	rows := [][]string{header}
	for i := range tasks {
		t := &tasks[i]
		row := []string{strconv.Itoa(t.Index)}
		for _, name := range parameters {
			row = append(row, t.Parameters[name])
		}
		row = append(row, string(t.State), blankZero(t.Attempts), string(t.Reason), exitCode(t), t.Node)
		if wide {
			row = append(row, t.Pod, oneLine(t.Message))
		}
		rows = append(rows, row)
	}
	return table(rows)
}

func blankZero(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func exitCode(t *record.Task) string {
	if t.ExitCode == nil {
		return ""
	}
	return strconv.Itoa(int(*t.ExitCode))
}

// TasksCSV writes tasks as comma-separated values with a header line. Parameters keep their names; the other columns
// have the names of the JSON fields.
func TasksCSV(out io.Writer, tasks []record.Task, parameters []string) error {
	w := csv.NewWriter(out)
	header := []string{"task"}
	header = append(header, parameters...)
	header = append(header, "state", "execution", "attempts", "reason", "exitCode", "node", "pod", "message")
	if err := w.Write(header); err != nil {
		return err
	}
	for i := range tasks {
		t := &tasks[i]
		row := []string{strconv.Itoa(t.Index)}
		for _, name := range parameters {
			row = append(row, t.Parameters[name])
		}
		row = append(row, string(t.State), strconv.Itoa(t.Execution), blankZero(t.Attempts), string(t.Reason), exitCode(t), t.Node, t.Pod, t.Message)
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// TasksJSON writes tasks as a JSON list.
func TasksJSON(out io.Writer, tasks []record.Task) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "    ")
	return encoder.Encode(tasks)
}
