package main

import (
	"testing"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

func TestASweepHasAsManyTasksAsItShall(t *testing.T) {
	for _, tasks := range []int{1, 2, 7, 10, 100, 1000, 10_000, 100_000} {
		matrix := sweepOf(tasks).Matrix
		seeds := matrix[1].Range
		if got := len(matrix[0].Values) * int(seeds.End-seeds.Start+1); got != tasks {
			t.Errorf("%d combinations, want %d", got, tasks)
		}
	}
}

func TestALoadHasAllItsTasks(t *testing.T) {
	for _, k := range kinds {
		l := k.load(1, 50, 20)
		if got := len(l.objects) * l.tasks; got != 50 {
			t.Errorf("%s: %d tasks, want 50", k.name, got)
		}
		names := map[string]bool{}
		for _, object := range l.objects {
			names[object.GetName()] = true
			if _, run := object.(*v1alpha1.BatchRun); run != k.operator {
				t.Errorf("%s is made of %T", k.name, object)
			}
		}
		if len(names) != len(l.objects) {
			t.Errorf("%s: %d names for %d objects", k.name, len(names), len(l.objects))
		}
	}
}

func TestEveryOtherTurnGoesBack(t *testing.T) {
	for turn, want := range []string{"abc", "cba", "abc"} {
		got := ""
		for _, k := range inTurn([]kind{{name: "a"}, {name: "b"}, {name: "c"}}, turn) {
			got += k.name
		}
		if got != want {
			t.Errorf("turn %d: got %s, want %s", turn, got, want)
		}
	}
}
