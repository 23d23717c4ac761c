// Package archive keeps the whole logs of attempts in an object store, so that they outlive their pods.
package archive

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/fileblob"  // file://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// ErrNotFound is the error for a log, or a run, that the archive does not have.
var ErrNotFound = errors.New("the archive does not have it")

// Attempt tells of one archived attempt. Its task, execution and number are those of status.failures. Two pods can share
// them: the attempt of a pod that its run stopped, as by suspend, is not counted, and the next pod makes it again. The
// UID of the pod tells them apart.
type Attempt struct {
	Namespace string    `json:"namespace"`
	Run       string    `json:"run"`
	RunUID    types.UID `json:"runUID"`
	Task      int       `json:"task"`
	// Execution is 1, and one more with each rerun of the task. Number is the attempt's in its execution; the first is 1.
	Execution int `json:"execution"`
	Number    int `json:"attempt"`

	Pod    string    `json:"pod"`
	PodUID types.UID `json:"podUID"`
	Node   string    `json:"node,omitempty"`
	// Reason is why it ended; empty where nobody saw its end.
	Reason    string       `json:"reason,omitempty"`
	ExitCode  *int32       `json:"exitCode,omitempty"`
	StartTime *metav1.Time `json:"startTime,omitempty"`
	EndTime   *metav1.Time `json:"endTime,omitempty"`
	// Containers has the default container of the pod first, as kubectl logs takes it, then the others in the order of
	// the pod's, init containers before those.
	Containers []Container `json:"containers"`
}

// Container tells of the log of one container of an attempt.
type Container struct {
	Name string `json:"name"`
	Init bool   `json:"init,omitempty"`
	// Bytes is the length of the log as it is read.
	Bytes int64 `json:"bytes"`
	// Cut is true where the middle of the log was left out, as it was over the size limit.
	Cut bool `json:"cut,omitempty"`
	// Partial is true where the log may lack something: Message says what.
	Partial bool   `json:"partial,omitempty"`
	Message string `json:"message,omitempty"`
}

// Owner tells whose the logs of a run are.
type Owner struct {
	// Cluster is a fingerprint of the cluster: several may share a bucket.
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Run       string `json:"run"`
}

const (
	ownerFile   = "run.json"
	attemptFile = "attempt.json"
	logSuffix   = ".log.gz"
	// maxMetadata bounds the JSON that is read.
	maxMetadata = 1 << 20
	// partSize and parts bound the memory of one upload.
	partSize = 5 << 20
	parts    = 1
)

// Store is the archive in a bucket:
//
//	<run UID>/run.json                                     an Owner, written first
//	<run UID>/<task>/<attempt>/<container>.log.gz
//	<run UID>/<task>/<attempt>/attempt.json                an Attempt, written last: what has one is whole
//
// where <attempt> is the execution, the number and the UID of the pod: 1.2.0f9c4a6e-….
type Store struct{ bucket *blob.Bucket }

// Open opens the archive of a URL: s3://bucket?region=eu-west-1, gs://bucket, azblob://container, file:///directory. The
// parameters are those of gocloud.dev/blob; prefix=folder/ goes with each. Credentials are those of the environment.
func Open(ctx context.Context, address string) (*Store, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" { // files appear whole, in their place, on whatever file system that is
		query := u.Query()
		for key, value := range map[string]string{"create_dir": "true", "no_tmp_dir": "true", "metadata": "skip"} {
			if !query.Has(key) {
				query.Set(key, value)
			}
		}
		u.RawQuery = query.Encode()
	}
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, err
	}
	return &Store{bucket}, nil
}

// NewStore is the archive in an open bucket.
func NewStore(bucket *blob.Bucket) *Store { return &Store{bucket} }

// Close gives the store back.
func (s *Store) Close() error { return s.bucket.Close() }

// folder is where an attempt is.
func (a *Attempt) folder() string {
	name := strconv.Itoa(a.Execution) + "." + strconv.Itoa(a.Number) + "." + string(a.PodUID)
	return path.Join(string(a.RunUID), strconv.Itoa(a.Task), name)
}

// Log returns the log of a container in the attempt; without a name that of the first.
func (a *Attempt) Log(container string) (Container, bool) {
	i := slices.IndexFunc(a.Containers, func(c Container) bool { return container == "" || c.Name == container })
	if i < 0 {
		return Container{}, false
	}
	return a.Containers[i], true
}

// Claim says whose the logs of a run are. It comes before the first attempt of a run.
func (s *Store) Claim(ctx context.Context, run types.UID, owner Owner) error {
	return s.putJSON(ctx, path.Join(string(run), ownerFile), owner)
}

// Owner tells whose the logs of a run are.
func (s *Store) Owner(ctx context.Context, run types.UID) (Owner, error) {
	var owner Owner
	err := s.getJSON(ctx, path.Join(string(run), ownerFile), &owner)
	return owner, err
}

// Put stores an attempt. open returns the log of a container, compressed with gzip. Storing it again replaces it.
func (s *Store) Put(ctx context.Context, a Attempt, open func(container string) (io.ReadCloser, error)) error {
	for _, c := range a.Containers {
		if err := s.putLog(ctx, path.Join(a.folder(), c.Name+logSuffix), c.Name, open); err != nil {
			return fmt.Errorf("storing the log of container %s: %w", c.Name, err)
		}
	}
	if err := s.putJSON(ctx, path.Join(a.folder(), attemptFile), a); err != nil {
		return fmt.Errorf("storing what the attempt was: %w", err)
	}
	return nil
}

func (s *Store) putLog(ctx context.Context, key, container string, open func(string) (io.ReadCloser, error)) error {
	log, err := open(container)
	if err != nil {
		return err
	}
	defer log.Close()
	return s.bucket.Upload(ctx, key, log, &blob.WriterOptions{
		ContentType: "application/gzip", BufferSize: partSize, MaxConcurrency: parts})
}

func (s *Store) putJSON(ctx context.Context, key string, object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return s.bucket.WriteAll(ctx, key, text, &blob.WriterOptions{
		ContentType: "application/json", BufferSize: partSize, MaxConcurrency: parts})
}

func (s *Store) getJSON(ctx context.Context, key string, object any) error {
	reader, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return notFound(err)
	}
	defer reader.Close()
	if err := json.NewDecoder(io.LimitReader(reader, maxMetadata)).Decode(object); err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	return nil
}

// Has tells whether an attempt is stored.
func (s *Store) Has(ctx context.Context, a Attempt) (bool, error) {
	return s.bucket.Exists(ctx, path.Join(a.folder(), attemptFile))
}

// Pods are the UIDs of the pods whose logs are stored of a run.
func (s *Store) Pods(ctx context.Context, run types.UID) (map[types.UID]bool, error) {
	pods := map[types.UID]bool{}
	err := s.list(ctx, string(run)+"/", "", func(object *blob.ListObject) error {
		folder, file := path.Split(object.Key)
		if name := strings.SplitN(path.Base(folder), ".", 3); file == attemptFile && len(name) == 3 {
			pods[types.UID(name[2])] = true
		}
		return nil
	})
	return pods, err
}

// Attempts lists the stored attempts of a task, oldest first.
func (s *Store) Attempts(ctx context.Context, run types.UID, task int) ([]Attempt, error) {
	var attempts []Attempt
	prefix := path.Join(string(run), strconv.Itoa(task)) + "/"
	err := s.list(ctx, prefix, "/", func(object *blob.ListObject) error {
		if !object.IsDir {
			return nil
		}
		var a Attempt
		err := s.getJSON(ctx, object.Key+attemptFile, &a)
		if errors.Is(err, ErrNotFound) { // it is just being stored, or deleted
			return nil
		}
		attempts = append(attempts, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing the archived attempts: %w", err)
	}
	slices.SortStableFunc(attempts, func(a, b Attempt) int {
		if d := a.Execution - b.Execution; d != 0 {
			return d
		}
		if d := a.Number - b.Number; d != 0 {
			return d
		}
		return ptr.Deref(a.EndTime, metav1.Time{}).Compare(ptr.Deref(b.EndTime, metav1.Time{}).Time)
	})
	return attempts, nil
}

// Read returns the log of a container of an attempt that Attempts listed, decompressed as it is read; without a name
// that of the first container.
func (s *Store) Read(ctx context.Context, a Attempt, container string) (io.ReadCloser, error) {
	c, ok := a.Log(container)
	if !ok {
		return nil, ErrNotFound
	}
	reader, err := s.bucket.NewReader(ctx, path.Join(a.folder(), c.Name+logSuffix), nil)
	if err != nil {
		return nil, notFound(err)
	}
	log, err := gzip.NewReader(reader)
	if errors.Is(err, io.EOF) && c.Bytes == 0 { // nothing was logged
		return reader, nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the archived log: %w", err), reader.Close())
	}
	return &inflated{log, reader, c.Bytes}, nil
}

// inflated is a decompressed stream that closes what it reads from. It fails where it ends early, which gzip notices only
// within a member.
type inflated struct {
	*gzip.Reader
	from io.Closer
	left int64
}

// Read implements io.Reader.
func (i *inflated) Read(into []byte) (int, error) {
	n, err := i.Reader.Read(into)
	if i.left -= int64(n); i.left > 0 && errors.Is(err, io.EOF) {
		err = fmt.Errorf("the archive lacks %d bytes of the log: %w", i.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Close implements io.Closer.
func (i *inflated) Close() error { return errors.Join(i.Reader.Close(), i.from.Close()) }

// Runs are the UIDs of the runs that the archive has something of.
func (s *Store) Runs(ctx context.Context) ([]types.UID, error) {
	var runs []types.UID
	err := s.list(ctx, "", "/", func(object *blob.ListObject) error {
		if object.IsDir {
			runs = append(runs, types.UID(strings.TrimSuffix(object.Key, "/")))
		}
		return nil
	})
	return runs, err
}

// DeleteRun deletes what is stored of a run, and what tells whose it is last. Attempts that are being stored meanwhile
// may stay: ask again.
func (s *Store) DeleteRun(ctx context.Context, run types.UID) error {
	if run == "" {
		return nil
	}
	prefix := string(run) + "/"
	err := s.list(ctx, prefix, "", func(object *blob.ListObject) error {
		if object.Key == prefix+ownerFile {
			return nil
		}
		return s.delete(ctx, object.Key)
	})
	if err == nil {
		err = s.delete(ctx, prefix+ownerFile)
	}
	if err != nil {
		return fmt.Errorf("deleting the archived logs of the run: %w", err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, key string) error {
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}

func (s *Store) list(ctx context.Context, prefix, delimiter string, visit func(*blob.ListObject) error) error {
	objects := s.bucket.List(&blob.ListOptions{Prefix: prefix, Delimiter: delimiter})
	for {
		object, err := objects.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = visit(object)
		}
		if err != nil {
			return err
		}
	}
}

// notFound makes the error for what is not there ErrNotFound.
func notFound(err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return ErrNotFound
	}
	return err
}
