// Package docs compares what the docs say with what is there.
package docs

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// TestPermissions compares the operator's role with the table in docs/security.md, which says why it needs each right.
func TestPermissions(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(content, &role); err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{}
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					allowed[fmt.Sprintf("%s %s in %q", verb, resource, group)] = true
				}
			}
		}
	}
	explained := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| (`[a-z0-9.]+`|\\(core\\)) \\| `([a-z/]+)` \\| ([a-z, ]+) \\| .+ \\|$")
	for _, cells := range row.FindAllStringSubmatch(read(t, "docs/security.md"), -1) {
		group := strings.Trim(strings.ReplaceAll(cells[1], "(core)", ""), "`")
		for verb := range strings.SplitSeq(cells[3], ", ") {
			explained[fmt.Sprintf("%s %s in %q", verb, cells[2], group)] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(explained)), slices.Sorted(maps.Keys(allowed)); !slices.Equal(got, want) {
		t.Errorf("docs/security.md explains\n%s\nbut the role allows\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	code    = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// TestLinks follows the links between pages, and to their headings.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{"*.md", "docs/*/*.md", ".github/*.md", "hack/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, more))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, path := range pages {
		page, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(read(t, page), ""), -1) {
			to, err := url.Parse(found[1])
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if to.IsAbs() {
				continue
			}
			target := page
			if to.Path != "" {
				target = filepath.Join(filepath.Dir(page), to.Path)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", page, found[1])
				continue
			}
			if to.Fragment != "" && !slices.Contains(anchors(t, target), to.Fragment) {
				t.Errorf("%s: %s has no heading #%s", page, target, to.Fragment)
			}
		}
	}
}

// anchors are what GitHub calls the headings of a page.
func anchors(t *testing.T, page string) []string {
	t.Helper()
	var names []string
	for _, found := range heading.FindAllStringSubmatch(read(t, page), -1) {
		text := link.ReplaceAllString(found[1], "")
		name := strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		for n, base := 1, name; slices.Contains(names, name); n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		names = append(names, name)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
