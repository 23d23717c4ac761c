package parameters

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

const (
	// maxParameters is the most parameters that the API lets in.
	maxParameters = 16
	maxNameLength = 63
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkNames fails unless the names can be those of environment variables of a task, each once.
func checkNames(names []string) error {
	if len(names) == 0 || len(names) > maxParameters {
		return fmt.Errorf("there must be 1 to %d parameters, not %d", maxParameters, len(names))
	}
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		switch {
		case len(name) > maxNameLength || !variableName.MatchString(name):
			return fmt.Errorf("%s is no name for an environment variable", quote(name))
		case name == v1alpha1.EnvTaskIndex || name == v1alpha1.EnvCompletionIndex:
			return fmt.Errorf("%s is the index of the task", name)
		case seen[name]:
			return fmt.Errorf("%s is there twice", name)
		}
		seen[name] = true
	}
	return nil
}

// checkValue fails for a value that would end its field in the packed form.
func checkValue(value string) error {
	if strings.ContainsAny(value, "\t\r\n") {
		return errors.New("values must not have tabs and line breaks")
	}
	return nil
}

// maxQuoted is how many characters of a text a message repeats.
const maxQuoted = 40

// quote is the text in quotes, cut if it is long.
func quote(text string) string {
	if utf8.RuneCountInString(text) > maxQuoted {
		return fmt.Sprintf("%.*q…", maxQuoted, text)
	}
	return strconv.Quote(text)
}
