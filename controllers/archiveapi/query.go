package archiveapi

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// query says which log is wanted, and which part of it.
type query struct {
	// task is -1 for the only one.
	task int64
	// execution and attempt are 0 for the last.
	execution, attempt int64
	// container is empty for the one that kubectl logs shows.
	container string
	// sinceBytes is how much of the log's start is left out.
	sinceBytes int64
	// tailLines and limitBytes are -1 for all there is.
	tailLines, limitBytes int64
}

// parseQuery reads the parameters of a request. The error names the one that is wrong.
func parseQuery(values url.Values) (query, error) {
	q := query{task: -1, tailLines: -1, limitBytes: -1}
	numbers := map[string]struct {
		least, bits int
		value       *int64
	}{
		"task":       {0, 31, &q.task},
		"execution":  {1, 31, &q.execution},
		"attempt":    {1, 31, &q.attempt},
		"tailLines":  {0, 63, &q.tailLines},
		"limitBytes": {1, 63, &q.limitBytes},
		"sinceBytes": {0, 63, &q.sinceBytes},
	}
	for name, given := range values {
		number, ok := numbers[name]
		switch {
		case len(given) != 1:
			return q, apierrors.NewBadRequest(name + ": say it once")
		case ok:
			value, err := strconv.ParseUint(given[0], 10, number.bits)
			if err != nil || int64(value) < int64(number.least) {
				return q, apierrors.NewBadRequest(fmt.Sprintf("%s: must be a whole number of at least %d, is %q", name, number.least, given[0]))
			}
			*number.value = int64(value)
		case name == "container":
			q.container = given[0]
		case name == "timeout" || name == "pretty": // of every client, and nothing of the log
		default:
			known := append(slices.Collect(maps.Keys(numbers)), "container")
			slices.Sort(known)
			return q, apierrors.NewBadRequest(fmt.Sprintf("%s: there is no such parameter; there are: %s", name, strings.Join(known, ", ")))
		}
	}
	return q, nil
}

// open opens what is asked for of a log that from opens.
func (q *query) open(from func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	part := func() (io.ReadCloser, error) {
		log, err := from()
		if err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, log, q.sinceBytes); err != nil && !errors.Is(err, io.EOF) {
			return nil, errors.Join(err, log.Close())
		}
		return log, nil
	}
	if q.tailLines < 0 {
		return part()
	}
	return lastLines(part, q.tailLines)
}

// limit ends a log where the reader wants no more.
func (q *query) limit(log io.Reader) io.Reader {
	if q.limitBytes < 0 {
		return log
	}
	return io.LimitReader(log, q.limitBytes)
}
