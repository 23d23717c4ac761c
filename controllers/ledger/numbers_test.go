package ledger

import (
	"testing"

	"github.com/batchrun/batchrun/controllers/indexset"
)

func TestNumbers(t *testing.T) {
	l := Ledger{{}, {Failures: 1}, {Execution: 1}, {Failures: 1, Disruptions: 1}, {}, {Disruptions: 1}}
	if text := l.Numbers(indexset.Of(0, 4, 6)); text != "" {
		t.Errorf("first attempts are %q", text)
	}
	text := l.Numbers(indexset.Of(0, 1, 2, 3, 5))
	if want := "1.2:1,5 2.1:2 1.3:3"; text != want {
		t.Errorf("wanted %q, got %q", want, text)
	}
	for task, want := range map[int][2]int{0: {1, 1}, 1: {1, 2}, 2: {2, 1}, 3: {1, 3}, 5: {1, 2}, 9: {1, 1}} {
		if execution, attempt := NumberOf(text, task); [2]int{execution, attempt} != want {
			t.Errorf("task %d is %d.%d, wanted %v", task, execution, attempt, want)
		}
	}
	for _, broken := range []string{"", "x", "1.2", "0.0:1", "1.2:x 1:1", ":1"} {
		if execution, attempt := NumberOf(broken, 1); execution != 1 || attempt != 1 {
			t.Errorf("%q is %d.%d", broken, execution, attempt)
		}
	}
}
