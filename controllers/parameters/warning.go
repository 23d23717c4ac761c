package parameters

import (
	"fmt"
	"slices"
	"strings"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// Warning is something that the spec says without effect.
type Warning struct {
	// Reason is one of the v1alpha1.Warning… reasons.
	Reason string
	// Message names the field.
	Message string
}

// maxNamed is how many entries of a field a warning names. It tells the number of the others.
const maxNamed = 5

// notes tell of entries of spec.parameters.
type notes struct {
	texts []string
	more  int
}

// add notes something of an entry; the text begins with its field, such as exclude[2].
func (n *notes) add(format string, args ...any) {
	if len(n.texts) == maxNamed {
		n.more++
		return
	}
	n.texts = append(n.texts, fmt.Sprintf(format, args...))
}

// warnings are those of an expansion: of entries of exclude that match nothing, and of entries that repeat others.
func warnings(unmatched, repeated notes) []Warning {
	var all []Warning
	if len(unmatched.texts) > 0 {
		field, why, _ := strings.Cut(unmatched.texts[0], ": ")
		first := "spec.parameters." + field + " matches no combination of the matrix: " + why
		message := strings.Join(append([]string{first}, unmatched.texts[1:]...), "; nor does ")
		if unmatched.more > 0 {
			message += fmt.Sprintf("; nor do %d more", unmatched.more)
		}
		all = append(all, Warning{Reason: v1alpha1.WarningExcludeMatchesNothing, Message: message})
	}
	if len(repeated.texts) > 0 {
		message := "spec.parameters." + strings.Join(repeated.texts, "; ")
		if repeated.more > 0 {
			message += fmt.Sprintf("; and %d more", repeated.more)
		}
		message += ": a combination is one task, however often it is named"
		all = append(all, Warning{Reason: v1alpha1.WarningDuplicateTasks, Message: message})
	}
	return slices.Clip(all) // shared: appending must make a copy
}
