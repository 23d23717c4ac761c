package main

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
)

// The chart's schema and docs/install.md know every flag, and no other.
func TestFlagsAreKnown(t *testing.T) {
	content, err := os.ReadFile("../../config/chart/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Flags struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	known := schema.Properties.Flags.Properties
	bind(flag.CommandLine)
	flag.VisitAll(func(f *flag.Flag) {
		if strings.HasPrefix(f.Name, "test.") || f.Name == "kubeconfig" {
			return
		}
		if known[f.Name] == nil {
			t.Errorf("config/chart/values.schema.json does not know --%s", f.Name)
		}
		if name, _, _ := strings.Cut(f.Name, "-"); !strings.Contains(string(docs), "`--"+f.Name) && name != "zap" {
			t.Errorf("docs/install.md does not tell of --%s", f.Name)
		}
		delete(known, f.Name)
	})
	for name := range known {
		t.Errorf("config/chart/values.schema.json knows --%s, which the operator does not have", name)
	}
}
