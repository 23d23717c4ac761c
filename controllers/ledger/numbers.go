package ledger

import (
	"fmt"
	"strings"

	"github.com/batchrun/batchrun/controllers/indexset"
)

// Numbers tells which attempts the next ones of these tasks are, by execution and number: "1.2:3,17 2.1:204". First
// attempts of first executions, 1.1, are left out.
func (l Ledger) Numbers(tasks indexset.Set) string {
	type number struct{ execution, attempt int }
	var order []number
	sets := map[number]*indexset.Builder{}
	for task := range tasks.All() {
		if task >= len(l) {
			break
		}
		n := number{int(l[task].Execution) + 1, l[task].Attempts() + 1}
		if n == (number{1, 1}) {
			continue
		}
		if sets[n] == nil {
			order, sets[n] = append(order, n), &indexset.Builder{}
		}
		sets[n].Add(task)
	}
	texts := make([]string, 0, len(order))
	for _, n := range order {
		texts = append(texts, fmt.Sprintf("%d.%d:%s", n.execution, n.attempt, sets[n].Set()))
	}
	return strings.Join(texts, " ")
}

// NumberOf reads the execution and the number of a task's attempt off what Numbers wrote.
func NumberOf(numbers string, task int) (execution, attempt int) {
	for text := range strings.SplitSeq(numbers, " ") {
		head, tasks, _ := strings.Cut(text, ":")
		set, err := indexset.Parse(tasks)
		if err != nil || !set.Contains(task) {
			continue
		}
		if n, err := fmt.Sscanf(head, "%d.%d", &execution, &attempt); err == nil && n == 2 && execution > 0 && attempt > 0 {
			return execution, attempt
		}
	}
	return 1, 1
}
