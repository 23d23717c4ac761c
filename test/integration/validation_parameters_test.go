package integration

import (
	"fmt"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	. "github.com/batchrun/batchrun/test/stage"
)

// parameters returns a patch with these fields of parameters.
func parameters(fields ...string) string {
	return fmt.Sprintf("spec: {parameters: {%s}}", strings.Join(fields, ", "))
}

// matrix returns a patch with these parameters.
func matrix(items ...string) string {
	return parameters("matrix: [" + strings.Join(items, ", ") + "]")
}

// repeated returns a list in YAML with n items, made by a format from their index.
func repeated(n int, format string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

var _ = Describe("kubectl apply of a BatchRun with parameters", func() {
	var namespace string

	BeforeEach(func() {
		namespace = NewNamespace()
	})

	DescribeTable("refuses, in words that name the field and the fix,",
		func(patch string, words ...string) { expectRefusal(namespace, changed(patch), words...) },

		// Which fields go together.
		Entry("completions too", `spec: {completions: 2, parameters: {items: [{A: "1"}]}}`,
			"spec.completions", "not be set together with parameters", "Remove one of them"),
		Entry("parameters that are none", parameters(), "spec.parameters", "exactly one of matrix and items"),
		Entry("a matrix and items", parameters(`matrix: [{name: A, values: ["1"]}]`, `items: [{A: "1"}]`),
			"spec.parameters", "exactly one of matrix and items"),
		Entry("include alone", parameters(`include: [{A: "1"}]`), "spec.parameters", "exactly one of matrix and items"),
		Entry("exclude with items", parameters(`items: [{A: "1"}]`, `exclude: [{A: "1"}]`),
			"spec.parameters.exclude", "goes with a matrix only", "remove exclude"),
		Entry("include with items", parameters(`items: [{A: "1"}]`, `include: [{A: "1"}]`),
			"spec.parameters.include", "goes with a matrix only", "move its entries to items"),
		Entry("a misspelled field of a parameter", matrix(`{name: A, value: ["1"]}`),
			`unknown field "spec.parameters.matrix[0].value"`),

		// The names.
		Entry("a parameter without a name", matrix(`{values: ["1"]}`), "spec.parameters.matrix[0].name", "Required value"),
		Entry("an empty name", matrix(`{name: "", values: ["1"]}`),
			"spec.parameters.matrix[0].name", "a name for an environment variable"),
		Entry("a name that starts with a digit", matrix(`{name: 1A, values: ["1"]}`),
			"spec.parameters.matrix[0].name", "letters, digits and '_', and no digit at the start", "Choose another name"),
		Entry("a name with a dash", matrix(`{name: LEARNING-RATE, values: ["1"]}`),
			"spec.parameters.matrix[0].name", "letters, digits and '_'"),
		Entry("a name that ends in a line break", matrix(`{name: "A\n", values: ["1"]}`),
			"spec.parameters.matrix[0].name", "letters, digits and '_'"),
		Entry("a name of 64 characters", matrix(`{name: `+strings.Repeat("A", 64)+`, values: ["1"]}`),
			"spec.parameters.matrix[0].name", "Too long", "63"),
		Entry("the name of the task's index", matrix(`{name: A, values: ["1"]}`, `{name: BATCHRUN_TASK_INDEX, values: ["1"]}`),
			"spec.parameters.matrix[1].name", "the operator sets them", "Choose another name"),
		Entry("the name of a Job's index", matrix(`{name: JOB_COMPLETION_INDEX, values: ["1"]}`),
			"spec.parameters.matrix[0].name", "the operator sets them"),
		Entry("a name twice", matrix(`{name: A, values: ["1"]}`, `{name: A, values: ["2"]}`),
			"spec.parameters.matrix[1]", `Duplicate value: {"name":"A"}`),

		// The values.
		Entry("an empty matrix", matrix(), "spec.parameters.matrix", "at least 1 items"),
		Entry("17 parameters", parameters("matrix: "+repeated(17, `{name: P%d, values: [a]}`)),
			"spec.parameters.matrix", "at most 16 items"),
		Entry("a parameter without values", matrix("{name: A}"),
			"spec.parameters.matrix[0]", "exactly one of values and range"),
		Entry("a parameter with values and a range", matrix(`{name: A, values: ["1"], range: {start: 1, end: 2}}`),
			"spec.parameters.matrix[0]", "exactly one of values and range"),
		Entry("an empty list of values", matrix("{name: A, values: []}"),
			"spec.parameters.matrix[0].values", "at least 1 items"),
		Entry("a number as value", matrix("{name: A, values: [0.1]}"),
			"spec.parameters.matrix[0].values[0]", "must be of type string"),
		Entry("a boolean as value", matrix("{name: A, values: [true]}"),
			"spec.parameters.matrix[0].values[0]", "must be of type string"),
		Entry("a value twice", matrix("{name: A, values: [x, y, x]}"),
			"spec.parameters.matrix[0].values[2]", `Duplicate value: "x"`),
		Entry("a value with a tab", matrix(`{name: A, values: [a, "a\tb"]}`),
			"spec.parameters.matrix[0].values[1]", "a text without tabs and line breaks"),
		Entry("a value with a line break", matrix(`{name: A, values: ["a\n"]}`),
			"spec.parameters.matrix[0].values[0]", "a text without tabs and line breaks"),
		Entry("a value with a carriage return", matrix(`{name: A, values: ["a\rb"]}`),
			"spec.parameters.matrix[0].values[0]", "a text without tabs and line breaks"),
		Entry("a value of 1025 characters", matrix(`{name: A, values: [`+strings.Repeat("a", 1025)+`]}`),
			"spec.parameters.matrix[0].values[0]", "Too long", "1024"),

		// Ranges.
		Entry("a range without end", matrix("{name: A, range: {start: 1}}"),
			"spec.parameters.matrix[0].range.end", "Required value"),
		Entry("a range in steps of 0", matrix("{name: A, range: {start: 1, end: 9, step: 0}}"),
			"spec.parameters.matrix[0].range.step", "must not be 0", "would never end"),
		Entry("a range that goes down without a step", matrix("{name: A, range: {start: 9, end: 1}}"),
			"spec.parameters.matrix[0].range", "step (default 1) must lead from start to end", "set a negative step"),
		Entry("a range that goes down with a positive step", matrix("{name: A, range: {start: 9, end: 1, step: 2}}"),
			"spec.parameters.matrix[0].range", "step (default 1) must lead from start to end"),
		Entry("a range that goes up with a negative step", matrix("{name: A, range: {start: 1, end: 9, step: -1}}"),
			"spec.parameters.matrix[0].range", "a positive one where it is above"),
		Entry("a range beyond any use", matrix("{name: A, range: {start: 1000000000001, end: 1000000000002}}"),
			"spec.parameters.matrix[0].range.start", "less than or equal to"),
		Entry("a fraction in a range", matrix("{name: A, range: {start: 0.5, end: 2}}"),
			"spec.parameters.matrix[0].range.start", "must be of type integer"),

		// The number of combinations.
		Entry("a matrix of more than 100000", matrix("{name: A, range: {start: 0, end: 999}}", "{name: B, range: {start: 1, end: 101}}"),
			"spec.parameters.matrix", "the matrix has 101000 combinations, but at most 100000", "take out values"),
		Entry("a matrix of values and downward steps", matrix("{name: A, values: [a, b, c]}", "{name: B, range: {start: 99999, end: 0, step: -2}}"),
			"spec.parameters.matrix", "the matrix has 150000 combinations"),
		Entry("a matrix that exclude would bring below 100000",
			parameters("matrix: [{name: A, range: {start: 0, end: 100000}}]", `exclude: [{A: "0"}]`),
			"spec.parameters.matrix", "the matrix has 100001 combinations", "before exclude leaves any out"),
		Entry("a matrix that include brings above 100000",
			parameters("matrix: [{name: A, range: {start: 0, end: 99999}}]", `include: [{A: "-1"}]`),
			"spec.parameters.matrix", "the matrix has 100000 combinations and include adds 1, but at most 100000"),
		Entry("as many combinations as atoms in the universe", parameters("matrix: "+repeated(16, "{name: P%d, range: {start: 1, end: 100000}}")),
			"spec.parameters.matrix", "the matrix has 10^15 or more combinations"),
		Entry("the longest ranges", parameters("matrix: "+repeated(16, "{name: P%d, range: {start: -1000000000000, end: 1000000000000}}")),
			"spec.parameters.matrix", "the matrix has 10^15 or more combinations"),

		// What is excluded and included.
		Entry("an empty exclude", parameters("matrix: [{name: A, values: [a]}]", "exclude: []"),
			"spec.parameters.exclude", "at least 1 items"),
		Entry("an entry of exclude without values", parameters("matrix: [{name: A, values: [a]}]", "exclude: [{}]"),
			"spec.parameters.exclude[0]", "at least 1 properties"),
		Entry("an excluded number", parameters("matrix: [{name: A, values: [a]}]", "exclude: [{A: 1}]"),
			"spec.parameters.exclude[0].A", "must be of type string"),
		Entry("1001 entries of exclude", parameters("matrix: [{name: A, values: [a]}]", "exclude: "+repeated(1001, `{A: "%d"}`)),
			"spec.parameters.exclude", "at most 1000 items"),
		Entry("an empty include", parameters("matrix: [{name: A, values: [a]}]", "include: []"),
			"spec.parameters.include", "at least 1 items"),
		Entry("an included tab", parameters("matrix: [{name: A, values: [a]}]", `include: [{A: "\t"}]`),
			"spec.parameters.include[0].A", "a text without tabs and line breaks"),
		Entry("1001 entries of include", parameters("matrix: [{name: A, values: [a]}]", "include: "+repeated(1001, `{A: "%d"}`)),
			"spec.parameters.include", "at most 1000 items"),
		Entry("an entry of include that lacks a parameter",
			parameters("matrix: [{name: A, values: [a]}, {name: B, values: [b]}]", "include: [{A: x, B: x}, {A: z}]"),
			"spec.parameters.include", `include[1] has values for ["A"], but not for B`, "add it"),
		Entry("an entry of include with a misspelled parameter",
			parameters("matrix: [{name: SEED, values: [a]}]", "include: [{SEDE: x}]"),
			"spec.parameters.include", `include[0] has values for ["SEDE"], but not for SEED`, "correct the name"),
		Entry("an entry of include with one parameter more",
			parameters("matrix: [{name: A, values: [a]}]", "include: [{A: w}, {A: x}, {A: z, C: z}]"),
			"spec.parameters.include", "include[2] has a value for C, which is not a parameter of the matrix", "remove it"),

		// Items.
		Entry("no items", parameters("items: []"), "spec.parameters.items", "at least 1 items"),
		Entry("an item without values", parameters("items: [{}]"), "spec.parameters.items[0]", "at least 1 properties"),
		Entry("a number in an item", parameters("items: [{A: a}, {A: 1}]"),
			"spec.parameters.items[1].A", "must be of type string"),
		Entry("an item with a tab", parameters(`items: [{A: a}, {A: "a\tb"}]`),
			"spec.parameters.items[1].A", "a text without tabs and line breaks"),
		Entry("an item with 1025 characters", parameters("items: [{A: "+strings.Repeat("a", 1025)+"}]"),
			"spec.parameters.items[0].A", "Too long", "1024"),
		Entry("an item with a name that is none", parameters("items: [{A: a, B-C: b}]"),
			"spec.parameters.items", "items[0] has a parameter B-C", "letters, digits and '_'", "Choose another name"),
		Entry("an item with a name of 64 characters", parameters("items: [{"+strings.Repeat("A", 64)+": a}]"),
			"spec.parameters.items", "at most 63 characters"),
		Entry("an item with the task's index", parameters("items: [{A: a, BATCHRUN_TASK_INDEX: b}]"),
			"spec.parameters.items", "the operator sets them", "Choose another name"),
		Entry("an item with 17 parameters", parameters("items: [{"+strings.Trim(repeated(17, "P%d: a"), "[]")+"}]"),
			"spec.parameters.items[0]", "at most 16"),
		Entry("an item that lacks a parameter", parameters("items: [{A: a, B: b}, {A: a, B: b}, {A: c}]"),
			"spec.parameters.items", `items[2] has the parameters ["A"], but items[0] has`, "all must have the same"),
		Entry("an item with one parameter more", parameters("items: [{A: a}, {A: b}, {A: c}, {A: d, B: d}]"),
			"spec.parameters.items", "items[3] has the parameters", `but items[0] has ["A"]`),
		Entry("an item with a misspelled parameter", parameters("items: [{SEED: a}, {SEDE: b}]"),
			"spec.parameters.items", `items[1] has the parameters ["SEDE"], but items[0] has ["SEED"]`, "correct the names"),
		Entry("the last of 8000 items", parameters("items: "+strings.TrimSuffix(repeated(7999, `{A: "%d"}`), "]")+", {B: a}]"),
			"spec.parameters.items", `items[7999] has the parameters ["B"], but items[0] has ["A"]`),

		// The pilot.
		Entry("a negative pilot", "spec: {pilot: -1}", "spec.pilot", "greater than or equal to 0"),
		Entry("a pilot of 100001", "spec: {pilot: 100001}", "spec.pilot", "less than or equal to 100000"),

		// The rerun.
		Entry("a rerun without a token", "spec: {rerun: {scope: All}}", "spec.rerun.token", "Required value"),
		Entry("an empty token", `spec: {rerun: {token: ""}}`, "spec.rerun.token", "at least 1 chars long"),
		Entry("a number as token", "spec: {rerun: {token: 2}}", "spec.rerun.token", "must be of type string"),
		Entry("a token of 64 characters", "spec: {rerun: {token: "+strings.Repeat("a", 64)+"}}",
			"spec.rerun.token", "Too long", "63"),
		Entry("an unknown scope", "spec: {rerun: {token: a, scope: Succeeded}}",
			"spec.rerun.scope", `Unsupported value: "Succeeded"`, `"Failed", "All"`),
		Entry("a scope and indexes", `spec: {rerun: {token: a, scope: Failed, indexes: "0"}}`,
			"spec.rerun", "must not have both scope and indexes", "remove scope"),
		Entry("empty indexes", `spec: {rerun: {token: a, indexes: ""}}`, "spec.rerun.indexes", "such as 3,7-9"),
		Entry("indexes with a space", `spec: {completions: 9, rerun: {token: a, indexes: "3, 7"}}`,
			"spec.rerun.indexes", "with commas and no spaces, such as 3,7-9", "Correct them"),
		Entry("an index that is none", "spec: {rerun: {token: a, indexes: all}}", "spec.rerun.indexes", "such as 3,7-9"),
		Entry("a range of indexes without end", "spec: {rerun: {token: a, indexes: 3-}}", "spec.rerun.indexes", "such as 3,7-9"),
		Entry("an index of 7 digits", `spec: {rerun: {token: a, indexes: "1000000"}}`,
			"spec.rerun.indexes", "of at most 6 digits each"),
		Entry("an index as number", "spec: {rerun: {token: a, indexes: 3}}", "spec.rerun.indexes", "must be of type string"),
		Entry("more indexes than anyone writes", "spec: {rerun: {token: a, indexes: \""+strings.Repeat("1-2,", 2048)+"1\"}}",
			"spec.rerun.indexes", "Too long", "8192"),
		Entry("an index that the array does not have", "spec: {completions: 10, rerun: {token: a, indexes: 3-10}}",
			"spec.rerun.indexes", "must be below completions, which is 10", "raise completions"),
		Entry("an index that a single task does not have", `spec: {rerun: {token: a, indexes: "1"}}`,
			"spec.rerun.indexes", "must be below completions, which is 1 by default"),
	)

	DescribeTable("accepts, and leaves as it was written,",
		func(document func() string) { expectAcceptance(namespace, document()) },

		Entry("a small sweep", func() string { return changed(leastSweep) }),
		Entry("all of its fields", func() string { return changed(fullSweep) }),
		Entry("values of all kinds", func() string {
			return changed(matrix(`{name: _a1, values: ["", " ", "0.1", "true", "$(X)", "a=b,c:d;{}\"'\\", "ä€𝄞", ` +
				strings.Repeat("a", 1024) + `]}`))
		}),
		Entry("a name of 63 characters", func() string { return changed(matrix(`{name: ` + strings.Repeat("A", 63) + `, values: [a]}`)) }),
		Entry("16 parameters", func() string { return changed(parameters("matrix: " + repeated(16, `{name: P%d, values: [a, b]}`))) }),
		Entry("a matrix of 100000", func() string {
			return changed(matrix("{name: A, range: {start: 1, end: 1000}}", "{name: B, range: {start: -1, end: -100, step: -1}}"))
		}),
		Entry("a matrix and include of 100000", func() string {
			return changed(parameters("matrix: [{name: A, range: {start: 1, end: 99999}}]", "include: [{A: x}]"))
		}),
		Entry("steps that do not meet the end, and ranges of one number", func() string {
			return changed(matrix("{name: A, range: {start: 0, end: 29999, step: 3}}", "{name: B, range: {start: 5, end: 5}}",
				"{name: C, range: {start: 5, end: 5, step: -1}}", "{name: D, range: {start: -1000000000000, end: 1000000000000, step: 1000000000000}}"))
		}),
		Entry("5000 values", func() string { return changed(matrix("{name: A, values: " + repeated(5000, `"value-%d"`) + "}")) }),
		Entry("the most of exclude and include", func() string {
			names := strings.Trim(repeated(16, "P%d: v"), "[]")
			entries := repeated(1000, strings.ReplaceAll("{"+names+"}", "v", "v%[1]d"))
			return changed(parameters("matrix: "+repeated(16, "{name: P%d, values: [a]}"), "include: "+entries,
				`exclude: [{P0: a}, {P1: not there}, {UNKNOWN: a}]`))
		}),
		Entry("one item", func() string { return changed(parameters("items: [{A: a}]")) }),
		Entry("5000 items", func() string { return changed(parameters("items: " + repeated(5000, `{A: "%[1]d", B: b%[1]d}`))) }),
		Entry("an item twice, for the operator to tell", func() string { return changed(parameters("items: [{A: a}, {A: a}]")) }),
		Entry("a pilot of a sweep", func() string { return changed("spec: {pilot: 3, parameters: {items: [{A: a}]}}") }),
		Entry("a rerun of indexes of a sweep, for the operator to judge", func() string {
			return changed("spec: {rerun: {token: a, indexes: 7-999999}, parameters: {items: [{A: a}]}}")
		}),
		Entry("a rerun of what failed", func() string { return changed(`spec: {rerun: {token: "2", scope: Failed}}`) }),
		Entry("a rerun of all", func() string { return changed("spec: {rerun: {token: again please, scope: All}}") }),
		Entry("a rerun of the last task", func() string { return changed(`spec: {completions: 100000, rerun: {token: a, indexes: "0-3,99999"}}`) }),
	)

	It("accepts 100000 items from server-side apply", func() {
		document := changed(parameters("items: " + repeated(100000, `{A: "%d"}`)))
		out, err := Kubectl(document, "apply", "--server-side", "--namespace", namespace, "-f", "-")
		Expect(err).NotTo(HaveOccurred(), out)
	})

	for _, how := range applyWays {
		It("takes every edit of a legal file, with kubectl apply "+strings.Join(how, " "), func() {
			args := append([]string{"apply", "--namespace", namespace, "-f", "-"}, how...)
			for i, patch := range edits {
				By("edit " + strconv.Itoa(i))
				document := changed(patch)
				out, err := Kubectl(document, args...)
				Expect(err).NotTo(HaveOccurred(), "%s\n%s", patch, out)
				written := &unstructured.Unstructured{}
				Expect(yaml.Unmarshal([]byte(document), written)).To(Succeed())
				expectSpec(get(namespace, written.GetName()), written)
			}
		})
	}

	It("keeps taking an old rerun whose indexes the array no longer has, and refuses a new one", func() {
		apply := func(patch string) (string, error) {
			return Kubectl(changed(patch), "apply", "--namespace", namespace, "-f", "-")
		}
		for _, patch := range []string{
			"spec: {completions: 100, rerun: {token: a, indexes: 90-99}}",
			"spec: {completions: 10, rerun: {token: a, indexes: 90-99}}",
			"spec: {completions: 10, backoffLimit: 1, rerun: {token: a, indexes: 90-99}}",
			"spec: {rerun: {token: a, indexes: 90-99}}",
			"spec: {parameters: {items: [{A: a}]}, rerun: {token: a, indexes: 90-99}}",
			"spec: {completions: 1, rerun: {token: a, indexes: 90-99}}",
		} {
			out, err := apply(patch)
			Expect(err).NotTo(HaveOccurred(), "%s\n%s", patch, out)
		}
		for _, patch := range []string{
			"spec: {completions: 10, rerun: {token: b, indexes: 90-99}}",
			`spec: {completions: 10, rerun: {token: a, indexes: "90"}}`,
		} {
			out, err := apply(patch)
			Expect(err).To(HaveOccurred(), patch)
			Expect(out).To(ContainSubstring("must be below completions, which is 10"))
		}
		out, err := apply("spec: {completions: 10, rerun: {token: b, indexes: 0-9}}")
		Expect(err).NotTo(HaveOccurred(), out)
	})
})

const leastSweep = `
spec:
  parameters:
    matrix:
    - {name: LR, values: ["0.1", "0.01"]}
    - {name: SEED, range: {start: 0, end: 2}}
`

const fullSweep = `
spec:
  pilot: 1
  rerun: {token: "2", scope: Failed}
  parameters:
    matrix:
    - {name: LR, values: ["0.1", "0.01"]}
    - {name: SEED, range: {start: 10, end: 0, step: -5}}
    exclude: [{LR: "0.1", SEED: "5"}, {SEED: "0"}]
    include: [{LR: "0.5", SEED: none}]
`

// edits are made one after the other to one file.
var edits = []string{
	"{}",
	"spec: {completions: 5}",
	leastSweep,
	fullSweep,
	matrix(`{name: SEED, range: {start: 0, end: 9}}`, `{name: LR, values: ["0.01", "0.001", "0.1"]}`), // other order
	matrix(`{name: LR, values: ["0.01"]}`),            // less
	matrix(`{name: LR, range: {start: 1, end: 3}}`),   // a range instead of values
	matrix(`{name: MODEL, values: [small]}`),          // another parameter
	parameters("items: [{A: a, B: b}, {A: b, B: b}]"), // a list instead
	parameters("items: [{A: b, B: b}]"),
	parameters("items: [{C: c}]"),
	"spec: {completions: 3, pilot: 2, rerun: {token: a, indexes: 0-2}}",
	"spec: {completions: 1, rerun: {token: a, indexes: 0-2}}",
	"spec: {rerun: {token: a}}",
	leastSweep,
	"{}",
}
