// Package gitops judges runs as GitOps tools do: by Argo CD's scripts of config/argocd, by Flux' kstatus, and by the
// expressions of config/flux.
package gitops

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/config/argocd"
	"github.com/batchrun/batchrun/config/flux"
)

// scriptTimeout is that of Argo CD.
const scriptTimeout = time.Second

// The healths that Argo CD knows and the script returns.
const (
	Healthy     = "Healthy"
	Progressing = "Progressing"
	Suspended   = "Suspended"
	Degraded    = "Degraded"
)

// scripts are those that Argo CD would read from its ConfigMap.
var scripts = sync.OnceValues(argocd.Read)

// Health is what Argo CD says of a run.
func Health(run *v1alpha1.BatchRun) (health, message string, err error) {
	c, err := scripts()
	if err != nil {
		return "", "", err
	}
	result, err := runScript(run, c.Health)
	if err != nil {
		return "", "", fmt.Errorf("health: %w", err)
	}
	health, _ = result["status"].(string)
	message, _ = result["message"].(string)
	return health, message, nil
}

// Actions are the actions on a run that Argo CD offers now.
func Actions(run *v1alpha1.BatchRun) ([]string, error) {
	c, err := scripts()
	if err != nil {
		return nil, err
	}
	result, err := runScript(run, c.Discovery)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var enabled []string
	for name, definition := range result {
		if disabled, _ := definition.(map[string]any)["disabled"].(bool); !disabled {
			enabled = append(enabled, name)
		}
	}
	slices.Sort(enabled)
	return enabled, nil
}

// Act returns the merge patch by which Argo CD does an action.
func Act(run *v1alpha1.BatchRun, action string) ([]byte, error) {
	c, err := scripts()
	if err != nil {
		return nil, err
	}
	for _, d := range c.Definitions {
		if d.Name != action {
			continue
		}
		before, err := runScript(run, "return obj") // what is empty gets lost in Lua; Argo CD puts it back
		if err != nil {
			return nil, err
		}
		after, err := runScript(run, d.Action)
		if err != nil {
			return nil, fmt.Errorf("action %s: %w", action, err)
		}
		return client.MergeFrom(&unstructured.Unstructured{Object: before}).Data(&unstructured.Unstructured{Object: after})
	}
	return nil, fmt.Errorf("no action %s", action)
}

// Kstatus is what Flux says of a run without expressions: whether it has finished.
func Kstatus(run *v1alpha1.BatchRun) (status.Status, string, error) {
	object, err := toUnstructured(run)
	if err != nil {
		return "", "", err
	}
	result, err := status.Compute(object)
	if err != nil {
		return "", "", err
	}
	return result.Status, result.Message, nil
}

// expressions are those that Flux would read from its Kustomization.
var expressions = sync.OnceValues(func() (*cel.StatusEvaluator, error) {
	e, err := flux.Read()
	if err != nil {
		return nil, err
	}
	return cel.NewStatusEvaluator(&e)
})

// Started is what Flux says of a run by the expressions of config/flux: whether it has started.
func Started(run *v1alpha1.BatchRun) (status.Status, error) {
	evaluator, err := expressions()
	if err != nil {
		return "", err
	}
	object, err := toUnstructured(run)
	if err != nil {
		return "", err
	}
	result, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return "", err
	}
	return result.Status, nil
}

// Disagreement says where the tools read another state off a run than its phase says; empty where they agree.
func Disagreement(run *v1alpha1.BatchRun) string {
	if run.DeletionTimestamp != nil {
		return "" // they only ask whether it is gone
	}
	want := verdict{Progressing, status.InProgressStatus, status.InProgressStatus}
	switch {
	case run.Status.ObservedGeneration != run.Generation: // whatever it was before the edit
	case run.Status.CompletionTime != nil && is(run, v1alpha1.ConditionReconciling): // it cannot follow an edit yet
		if run.Status.StartTime != nil {
			want.started = status.CurrentStatus
		}
	case run.Status.Phase == v1alpha1.PhaseFailed, run.Status.Phase == v1alpha1.PhaseCancelled, is(run, v1alpha1.ConditionStalled):
		want = verdict{Degraded, status.FailedStatus, status.FailedStatus}
	case run.Status.Phase == v1alpha1.PhaseSucceeded:
		want = verdict{Healthy, status.CurrentStatus, status.CurrentStatus}
	case run.Status.Phase == v1alpha1.PhaseSuspended:
		want = verdict{Suspended, status.InProgressStatus, status.CurrentStatus}
	case run.Status.StartTime != nil:
		want.started = status.CurrentStatus
	}
	health, _, err := Health(run)
	if err != nil {
		return err.Error()
	}
	finished, _, err := Kstatus(run)
	if err != nil {
		return err.Error()
	}
	started, err := Started(run)
	if err != nil {
		return err.Error()
	}
	if got := (verdict{health, finished, started}); got != want {
		return fmt.Sprintf("phase %q: Argo CD's health, kstatus, and Flux' expressions are %v, want %v", run.Status.Phase, got, want)
	}
	return ""
}

// verdict is what the tools say of a run.
type verdict struct {
	health            string
	finished, started status.Status
}

// is whether a condition of a run is true.
func is(run *v1alpha1.BatchRun, conditionType string) bool {
	return meta.IsStatusConditionTrue(run.Status.Conditions, conditionType)
}

func toUnstructured(run *v1alpha1.BatchRun) (*unstructured.Unstructured, error) {
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(run)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: object}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("BatchRun"))
	return u, nil
}

// runScript runs a script on a run, with the libraries that Argo CD lets it have, and returns its table.
func runScript(run *v1alpha1.BatchRun, script string) (map[string]any, error) {
	object, err := toUnstructured(run)
	if err != nil {
		return nil, err
	}
	vm := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer vm.Close()
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	vm.SetContext(ctx)
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage}, // first: the others enter themselves there, for require
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
		{lua.OsLibName, lua.OpenOs},
	} {
		if err := vm.CallByParam(lua.P{Fn: vm.NewFunction(library.open), Protect: true}, lua.LString(library.name)); err != nil {
			return nil, err
		}
	}
	vm.SetGlobal("obj", toLua(vm, object.Object))
	if err := vm.DoString(script); err != nil {
		return nil, err
	}
	table, ok := fromLua(vm.Get(-1)).(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it returned %s, want a table", vm.Get(-1).Type())
	}
	return table, nil
}

func toLua(vm *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := vm.NewTable()
		for _, element := range v {
			table.Append(toLua(vm, element))
		}
		return table
	case map[string]any:
		table := vm.NewTable()
		for key, element := range v {
			table.RawSetString(key, toLua(vm, element))
		}
		return table
	}
	return lua.LNil
}

func fromLua(value lua.LValue) any {
	switch v := value.(type) {
	case lua.LString:
		return string(v)
	case lua.LBool:
		return bool(v)
	case lua.LNumber:
		if whole := int64(v); lua.LNumber(whole) == v {
			return whole
		}
		return float64(v)
	case *lua.LTable:
		if n := v.MaxN(); n > 0 {
			list := make([]any, 0, n)
			for i := 1; i <= n; i++ {
				list = append(list, fromLua(v.RawGetInt(i)))
			}
			return list
		}
		object := map[string]any{}
		v.ForEach(func(key, element lua.LValue) { object[key.String()] = fromLua(element) })
		return object
	}
	return nil
}
