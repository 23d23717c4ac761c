package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/controllers/ledger"
)

// active is a run whose tasks are these.
func active(name string, tasks ...ledger.Task) *v1alpha1.BatchRun {
	run := &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid of " + name)}}
	run.Spec.Completions = ptr.To(int32(len(tasks)))
	run.Status.Phase, run.Status.Tasks = v1alpha1.PhaseRunning, int32(len(tasks))
	run.Status.Waves.Ledger = ledger.Ledger(tasks).Encode()
	return run
}

// ended is the same run once it has succeeded.
func ended(run *v1alpha1.BatchRun) *v1alpha1.BatchRun {
	run = run.DeepCopy()
	run.Status.Phase, run.Status.CompletionTime = v1alpha1.PhaseSucceeded, ptr.To(metav1.Now())
	return run
}

func TestWhatCommonlyGoesWrongIsSaidInWords(t *testing.T) {
	forbidden := refuses(http.StatusForbidden, metav1.StatusReasonForbidden, "you cannot list")
	for _, test := range []struct {
		name    string
		prepare func(*played)
		args    string
		code    int
		words   []string
	}{
		{"no such run", nil, "get other", 1, []string{`there is no run "other" in namespace "default"`, "-n chooses"}},
		{"wait for no such run", nil, "wait other", 3, []string{`there is no run "other"`}},
		{"no CRD", (*played).withoutRuns, "get run", 1,
			[]string{"this cluster has no BatchRuns: the operator is not installed there"}},
		{"no CRD to list of", (*played).withoutRuns, "list", 1,
			[]string{"this cluster has no BatchRuns: the operator is not installed there"}},
		{"no CRD to wait for", (*played).withoutRuns, "wait run", 3,
			[]string{"this cluster has no BatchRuns"}},
		{"no permission", func(p *played) { p.set(runsPath+"/run", forbidden) }, "get run", 1, []string{"you cannot list", "the role batchrun-viewer"}},
		{"no permission to list", func(p *played) { p.set(runsPath, forbidden) }, "list", 1, []string{"you cannot list", "the role batchrun-viewer"}},
		{"a quota", func(p *played) {
			p.set(runsPath, refuses(http.StatusForbidden, metav1.StatusReasonForbidden, "exceeded quota"))
		}, "list", 1,
			[]string{"error: exceeded quota\n"}},
		{"not logged in", func(p *played) {
			p.set(runsPath, refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized"))
		}, "list", 1,
			[]string{"the cluster does not know you: log in anew"}},
		{"the API server is away", func(p *played) { p.Close() }, "list", 1, []string{"the API server does not answer", "connection refused"}},
		{"no name", nil, "get", 1, []string{"kubectl batchrun get needs the name of one run", "list shows"}},
		{"retry of no such task", nil, "retry run --tasks 0-7", 1, []string{"run run has no task 1: kubectl batchrun tasks run lists them"}},
		{"an unknown dry run", nil, "create -f testdata/job.yaml --dry-run=maybe", 1, []string{"none, client, server"}},
		{"no names", nil, "suspend", 1, []string{"kubectl batchrun suspend needs the name of a run"}},
		{"a context that is not there", nil, "list --context nosuch", 1, []string{"nosuch"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := play(t, active("run", ledger.Task{}))
			if test.prepare != nil {
				test.prepare(p)
			}
			_, errOut, code := p.run(t, strings.Fields(test.args)...)
			if code != test.code || strings.Count(errOut, "error: ") != 1 {
				t.Errorf("code %d: %s", code, errOut)
			}
			for _, words := range test.words {
				if !strings.Contains(errOut, words) {
					t.Errorf("%q is not in %q", words, errOut)
				}
			}
		})
	}
}

func TestARunThatFailsDoesNotKeepFromTheOthers(t *testing.T) {
	p := play(t, active("one", ledger.Task{}), active("two", ledger.Task{}))
	out, errOut, code := p.run(t, "suspend", "one", "missing", "two")
	if code != 1 || strings.Count(out, "suspended") != 2 || !strings.Contains(errOut, `there is no run "missing"`) {
		t.Errorf("code %d: %s%s", code, out, errOut)
	}
}

func TestAChangeTouchesItsFieldOnly(t *testing.T) {
	run := active("run", ledger.Task{State: ledger.Failed})
	run.Status.Failed = 1
	p := play(t, run)
	for _, command := range []string{"suspend", "cancel", "retry"} {
		if _, errOut, code := p.run(t, command, "run"); code != 0 {
			t.Error(command, errOut)
		}
	}
	for i, field := range []string{`"suspend":true`, `"cancel":true`, `"rerun":{"indexes":null,"scope":"Failed","token":`} {
		if want := `{"metadata":{"uid":"uid of run"},"spec":{` + field; i >= len(p.patches) || !strings.HasPrefix(p.patches[i], want) {
			t.Errorf("got %q, want %s", p.patches, want)
		}
	}
}

func TestAChangeThatAGitOpsToolSetsBackIsWarnedOf(t *testing.T) {
	for _, test := range []struct {
		name, manager, fields, label string
		want, wantDelete             string
	}{
		{"nobody", "kubectl", `{"f:spec":{"f:suspend":{}}}`, "", "", ""},
		{"Flux owns the field", "kustomize-controller", `{"f:spec":{"f:suspend":{}}}`, "",
			"warning: Flux applies spec.suspend of run run from a repository and will set it back", "warning: Flux applies it from a repository and will create it again"},
		{"Argo CD owns another field", "argocd-controller", `{"f:spec":{"f:template":{}}}`, "",
			"Argo CD applies run run from a repository, which does not set spec.suspend: this stays until it does", "warning: Argo CD applies it"},
		{"a label tells", "kubectl", `{}`, "argocd.argoproj.io/instance", "Argo CD applies run run from a repository, which does not set", "warning: Argo CD applies it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := active("run", ledger.Task{})
			run.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: test.manager, Operation: metav1.ManagedFieldsOperationApply,
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(test.fields)}}
			run.Labels = map[string]string{test.label: "x"}
			p := play(t, run)
			_, errOut, _ := p.run(t, "suspend", "run")
			if !strings.Contains(errOut, test.want) || test.want == "" && errOut != "" {
				t.Errorf("got %q", errOut)
			}
			_, errOut, _ = p.run(t, "delete", "run", "--yes")
			if !strings.Contains(errOut, test.wantDelete) || test.wantDelete == "" && strings.Contains(errOut, "warning") {
				t.Errorf("got %q", errOut)
			}
		})
	}
}

func TestARunOfTheSameNameIsAnother(t *testing.T) {
	for _, args := range []string{"wait run", "watch run"} {
		p := play(t, active("run", ledger.Task{}))
		c := p.start(t, strings.Fields(args)...)
		if args == "watch run" {
			says(t, c.out, "run Running")
		} else {
			NewWithT(t).Eventually(func() int { return p.asked(runsPath) }, "30s").Should(BeNumerically(">", 1)) // it says nothing
		}
		other := active("run", ledger.Task{})
		other.UID = "another"
		p.setRuns(ended(other))
		if code := <-c.code; code == 0 || !strings.Contains(string(c.errOut.Contents()), `run "run" was deleted, and another one of this name was created`) {
			t.Errorf("%s: code %d: %s", args, code, c.errOut.Contents())
		}
	}
}

func TestALostConnectionIsSaidAndWaitedFor(t *testing.T) {
	run := active("run", ledger.Task{})
	run.Spec.Suspend = ptr.To(true)
	p := play(t, run)
	c := p.start(t, "wait", "run")
	says(t, c.errOut, "Run run is suspended: it goes on once somebody resumes it.\n")
	p.set(runsPath, refuses(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "starting"))
	says(t, c.errOut, "The connection to the cluster is lost, trying again: starting")
	p.setRuns(ended(run))
	if code := <-c.code; code != 0 || string(c.out.Contents()) != "batchrun.batchrun.io/run Succeeded \n" {
		t.Errorf("code %d: %s", code, c.out.Contents())
	}
}

func TestAFollowedTaskIsFollowedThroughItsAttempts(t *testing.T) {
	run := active("run", ledger.Task{})
	p := play(t, run)
	c := p.start(t, "logs", "run", "-f")
	says(t, c.errOut, "task 0: waiting for attempt 1 to start; the run is Running\n")

	pods := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	addPod := func(wave int, phase corev1.PodPhase) {
		pods = pods.DeepCopy()
		pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", wave), Labels: map[string]string{batchv1.JobNameLabel: fmt.Sprintf("run-%d", wave)},
			CreationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(wave) * time.Second))}}
		pod.Spec.Containers = []corev1.Container{{Name: "main", Env: []corev1.EnvVar{{Name: v1alpha1.EnvTaskIndex, Value: "0"}}}}
		pod.Status.Phase = phase
		pods.Items = []corev1.Pod{pod} // the list asks for those of the wave
		p.set(podsPath, pods)
	}
	addPod(0, corev1.PodPending)
	p.setRuns(active("run", ledger.Task{State: ledger.Active, Wave: 1}))
	if _, errOut, code := p.run(t, "logs", "run"); code != 1 || !strings.Contains(errOut, "its pod pod-0 has not started: kubectl batchrun explain-failure run") {
		t.Errorf("code %d: %s", code, errOut)
	}
	p.set(podsPath+"/pod-0/log", "first\n")
	p.set(podsPath+"/pod-1/log", "second\n")
	addPod(0, corev1.PodRunning)
	p.setRuns(active("run", ledger.Task{State: ledger.Active, Wave: 1}))
	says(t, c.out, "first\n")
	p.setRuns(active("run", ledger.Task{Failures: 1}))
	says(t, c.errOut, "task 0: waiting for attempt 2 to start")
	addPod(1, corev1.PodPending) // its containers have not started
	p.setRuns(active("run", ledger.Task{State: ledger.Active, Failures: 1, Wave: 2}))
	looks := p.asked(podsPath)
	NewWithT(t).Eventually(func() int { return p.asked(podsPath) }, "30s").Should(BeNumerically(">", looks+1))
	addPod(1, corev1.PodRunning)
	says(t, c.out, "first\nsecond\n")
	p.setRuns(active("run", ledger.Task{State: ledger.Succeeded}))
	if code := <-c.code; code != 0 || string(c.out.Contents()) != "first\nsecond\n" || strings.Contains(string(c.errOut.Contents()), "error") ||
		strings.Contains(string(c.errOut.Contents()), "attempt 3") {
		t.Errorf("code %d: %s%s", code, c.out.Contents(), c.errOut.Contents())
	}
}

func TestAClientDryRunShowsWhatAJobBecomes(t *testing.T) {
	p := play(t)
	p.Close() // it needs none
	out, errOut, code := p.run(t, "create", "-f", "testdata/job.yaml", "--dry-run=client", "-o", "yaml")
	if code != 0 || !strings.HasPrefix(out, "apiVersion: batchrun.io/v1alpha1\nkind: BatchRun\n") {
		t.Errorf("code %d: %s%s", code, out, errOut)
	}
}

func TestAListIsReadPageByPage(t *testing.T) {
	p := play(t)
	table := func(more string, names ...string) *metav1.Table {
		table := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"}, ListMeta: metav1.ListMeta{Continue: more},
			ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Name", Type: "string"}, {Name: "Reason", Type: "string", Priority: 1}}}
		for _, name := range names {
			object := fmt.Sprintf(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":%q,"namespace":"of-%s"}}`, name, name)
			table.Rows = append(table.Rows, metav1.TableRow{Cells: []any{name, "why"}, Object: runtime.RawExtension{Raw: []byte(object)}})
		}
		return table
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("limit") != "500" || query.Get("labelSelector") != "a=b" {
			t.Errorf("asked for %s", r.URL)
		}
		if query.Get("continue") == "" {
			writeJSON(w, http.StatusOK, table("more", "one", "two"))
			return
		}
		writeJSON(w, http.StatusOK, table("", "three"))
	})
	p.set(runsPath, answer)
	p.set("/apis/batchrun.io/v1alpha1/batchruns", answer)
	for args, want := range map[string]string{
		"list -l a=b":                 "NAME\none\ntwo\nthree\n",
		"list -l a=b -o wide":         "NAME    REASON\none     why\ntwo     why\nthree   why\n",
		"list -l a=b --no-headers":    "one\ntwo\nthree\n",
		"list -l a=b -A --no-headers": "of-one     one\nof-two     two\nof-three   three\n",
	} {
		if out, errOut, code := p.run(t, strings.Fields(args)...); code != 0 || out != want {
			t.Errorf("%s: code %d, %q %s", args, code, out, errOut)
		}
	}
}
