package main

import (
	"fmt"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/utils/ptr"
)

const (
	maxMatrix   = 16 // as the type says
	maxValueLen = 1024
)

const (
	// textValue says in words what it means: nothing but the pattern is quoted to the user, and a rule with a message
	// for each of 100,000 values is beyond the API server's budget. The words match nothing that the rest does not.
	textValue = `^([^\t\r\n]*|a text without tabs and line breaks)$`

	// indexesForm is also what the type says of rerun.indexes.
	indexesForm = `^[0-9]{1,6}(-[0-9]{1,6})?(,[0-9]{1,6}(-[0-9]{1,6})?)*$`
)

// The validation rules for sweeps and reruns that tell which entry is wrong. Their messages are made with format: the
// API server cannot bound the cost of + on texts that came from numbers.
var (
	matrixSize = apiextensionsv1.ValidationRule{
		Rule: `!has(self.matrix) || ` + combinations + ` + (has(self.include) ? double(self.include.size()) : 0.0) <= 100000.0`,
		Message: "the matrix, and what include adds to it, must not have more than 100000 combinations, counted before " +
			"exclude leaves any out: take out values, or list the tasks as items",
		MessageExpression: `[` + combinations + `].map(n, ` +
			`'the matrix has %s combinations%s, but at most 100000 are allowed, counted before exclude leaves any out: ` +
			`take out values, or list the tasks as items'.format([` +
			`n < 1e15 ? '%d'.format([int(n)]) : '10^15 or more', ` +
			`has(self.include) ? ' and include adds %d'.format([self.include.size()]) : '']))[0]`,
		FieldPath: ".matrix",
	}
	includeComplete = apiextensionsv1.ValidationRule{
		Rule: `!has(self.matrix) || !has(self.include) || self.include.all(c, self.matrix.all(p, p.name in c))`,
		Message: "each entry of include must have a value for every parameter of the matrix: add the values, or correct " +
			"the names",
		MessageExpression: `[self.include.map(c, self.matrix.all(p, p.name in c)).indexOf(false)].map(i, ` +
			`'include[%d] has values for %s, but not for %s, and must have one for every parameter of the matrix: add it, ` +
			`or correct the name'.format([i, self.include[i].map(k, k), ` +
			`self.matrix.filter(p, !(p.name in self.include[i]))[0].name]))[0]`,
		FieldPath: ".include",
	}
	includeKnown = apiextensionsv1.ValidationRule{
		Rule: `!has(self.matrix) || !has(self.include) || self.include.all(c, c.size() <= self.matrix.size())`,
		Message: "an entry of include must have values for parameters of the matrix only: remove the others, or correct " +
			"the names",
		MessageExpression: `[self.include.map(c, c.size() <= self.matrix.size()).indexOf(false)].map(i, ` +
			`'include[%d] has a value for %s, which is not a parameter of the matrix: remove it, or correct the name'` +
			`.format([i, self.include[i].filter(k, !self.matrix.exists(p, p.name == k))[0]]))[0]`,
		FieldPath: ".include",
	}
	itemNames = apiextensionsv1.ValidationRule{
		Rule: `self.size() == 0 || self[0].all(k, ` + isName + `)`,
		Message: "the parameters of items must have names for environment variables: letters, digits and '_', no digit " +
			"at the start, at most 63 characters. Choose other names",
		MessageExpression: `'items[0] has a parameter %s: it must be a name for an environment variable: letters, digits ` +
			`and \'_\', no digit at the start, at most 63 characters. Choose another name'` +
			`.format([self[0].filter(k, !(` + isName + `))[0]])`,
	}
	itemReserved = apiextensionsv1.ValidationRule{
		Rule: `self.size() == 0 || !['JOB_COMPLETION_INDEX', 'BATCHRUN_TASK_INDEX'].exists(k, k in self[0])`,
		Message: "must not have parameters JOB_COMPLETION_INDEX and BATCHRUN_TASK_INDEX: the operator sets them to the " +
			"index of the task. Choose another name",
	}
	rerunIndexes = apiextensionsv1.ValidationRule{
		Rule: `!has(self.rerun) || !has(self.rerun.indexes) || has(self.parameters) || ` +
			`(oldSelf.hasValue() && has(oldSelf.value().rerun) && oldSelf.value().rerun == self.rerun) || ` +
			`!self.rerun.indexes.matches('` + indexesForm + `') || ` +
			`self.rerun.indexes.findAll('[0-9]+').all(n, int(n) < ` + completions + `)`,
		Message: "must be below completions (default 1) when the rerun is new: correct the indexes, or raise completions",
		MessageExpression: `'must be below completions, which is %d%s: correct the indexes, or raise completions'` +
			`.format([` + completions + `, has(self.completions) ? '' : ' by default'])`,
		FieldPath:       ".rerun.indexes",
		OptionalOldSelf: ptr.To(true),
	}
)

const (
	isName      = `k.size() <= 63 && k.matches('^[A-Za-z_][A-Za-z0-9_]*$')`
	completions = `(has(self.completions) ? self.completions : 1)`
)

// combinations is the number of combinations of self.matrix: the product of the parameters' counts, filled up with
// ones. It is a double, which does not overflow. A parameter that another rule refuses counts as one value.
var combinations = func() string {
	const step = `(has(p.range.step) ? p.range.step : 1)`
	const counts = `self.matrix.map(p, has(p.values) ? double(p.values.size()) : !has(p.range) || ` + step + ` == 0 ? 1.0 : ` +
		`[1.0, double((p.range.end - p.range.start) / ` + step + ` + 1)].max())`
	ones := strings.Repeat("1.0, ", maxMatrix-1) + "1.0"
	factors := make([]string, maxMatrix)
	for i := range factors {
		factors[i] = fmt.Sprintf("n[%d]", i)
	}
	return fmt.Sprintf("[%s + [%s]].map(n, %s)[0]", counts, ones, strings.Join(factors, " * "))
}()

// Items are compared with items[0] in blocks, by several rules that take every itemParts-th item each. One rule that
// went over a list of 100,000 would exceed what the API server lets a rule cost, and take it a minute: the time that it
// needs to keep account of the cost grows with the square of a loop's length.
const (
	itemParts = 5
	blockLen  = 28 // 28 blocks of 28 blocks of 28 items, times itemParts, are more items than the type allows
)

// sameParameters is the rule that an item has the parameters of items[0], for each item i with i % itemParts == part.
func sameParameters(part int) apiextensionsv1.ValidationRule {
	const same = `s + c >= self.size() || ` +
		`self[s + c].size() == self[0].size() && self[0].all(k, k in self[s + c])`
	items := multiples(itemParts, part)
	blocks := multiples(itemParts*blockLen, 0)
	superblocks := multiples(itemParts*blockLen*blockLen, 0)
	sameBlock := `(s >= self.size() || ` + items + `.all(c, ` + same + `))`
	sameSuperblock := `(a >= self.size() || ` + blocks + `.all(b, [a + b].all(s, ` + sameBlock + `)))`
	return apiextensionsv1.ValidationRule{
		Rule:    superblocks + `.all(a, ` + sameSuperblock + `)`,
		Message: "all items must have the same parameters as items[0]: add or remove some, or correct the names",
		MessageExpression: `[` + superblocks + `.filter(a, !` + sameSuperblock + `)[0]].map(a, ` +
			`[` + blocks + `.map(b, a + b).filter(s, !` + sameBlock + `)[0]].map(s, ` +
			`[s + ` + items + `.filter(c, !(` + same + `))[0]].map(i, ` +
			`'items[%d] has the parameters %s, but items[0] has %s, and all must have the same: add or remove some, ` +
			`or correct the names'.format([i, self[i].map(k, k), self[0].map(k, k)]))[0])[0])[0]`,
	}
}

// multiples is the list of blockLen numbers that starts with first and goes on in steps.
func multiples(step, first int) string {
	numbers := make([]string, blockLen)
	for i := range numbers {
		numbers[i] = strconv.Itoa(first + i*step)
	}
	return "[" + strings.Join(numbers, ", ") + "]"
}

// parameterChanges adds what markers cannot express of sweeps and reruns.
func parameterChanges() []change {
	changes := []change{
		{"spec", rule(rerunIndexes)},
		{"spec.parameters", rule(matrixSize)},
		{"spec.parameters", rule(includeComplete)},
		{"spec.parameters", rule(includeKnown)},
		{"spec.parameters.items", rule(itemNames)},
		{"spec.parameters.items", rule(itemReserved)},
	}
	for part := range itemParts {
		changes = append(changes, change{"spec.parameters.items", rule(sameParameters(part))})
	}
	for _, values := range []string{
		"spec.parameters.matrix.[].values.[]",
		"spec.parameters.exclude.[].{}", "spec.parameters.include.[].{}", "spec.parameters.items.[].{}",
	} {
		changes = append(changes, change{values, maxLength(maxValueLen)}, change{values, pattern(textValue)})
	}
	return changes
}
