package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

const (
	// namespace holds what is measured, and the service account of this program.
	namespace      = "bench"
	serviceAccount = "bench"
	// operatorNamespace and operatorAccount are those of config/rbac.
	operatorNamespace = "batchrun-system"
	operatorAccount   = "batchrun-operator"
	// fakeNodes is enough for all pods of 1,000 runs at once: each has room for 10,000.
	fakeNodes = 4
	// tokenSeconds is longer than any session.
	tokenSeconds = 7 * 24 * 3600
	downTimeout  = time.Minute
	// aliveInterval is how often the API server is asked whether it is there, aliveAttempts how often it may fail to answer.
	aliveInterval = 5 * time.Second
	aliveAttempts = 12
)

// localDir is where hack/local keeps what git ignores.
var localDir = filepath.Join("hack", "local", ".local")

// stages fail some of the attempts, see the file.
//
//go:embed stages.yaml
var stages string

// cluster is one of hack/local's, with everything in it that the rounds need but the operator.
type cluster struct {
	name       string
	kubeconfig string
	// client and config are this program's, under a name of its own.
	client  client.WithWatch
	config  *rest.Config
	version string
	// policy is true while the policy for packed waves is installed.
	policy bool
}

// startCluster starts a new cluster. What an earlier session left of it goes first.
func startCluster(ctx context.Context, name string, defaultLimits bool) (*cluster, error) {
	if _, err := hackLocal(ctx, "down", "--name", name); err != nil {
		return nil, err
	}
	args := []string{"up", "--name", name, "--node", "fake", "--nodes", fmt.Sprint(fakeNodes)}
	if defaultLimits {
		args = append(args, "--default-limits")
	}
	c := &cluster{name: name}
	if _, err := hackLocal(ctx, args...); err != nil {
		return c, err
	}
	path, err := hackLocal(ctx, "kubeconfig", "--name", name)
	if err != nil {
		return c, err
	}
	c.kubeconfig = path
	return c, c.prepare(ctx)
}

// stop removes the cluster, also after an interrupt.
func (c *cluster) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
	defer cancel()
	_, err := hackLocal(ctx, "down", "--name", c.name)
	return err
}

// keepLogs copies the logs of the cluster's parts to where they outlive it: they may tell why a round failed.
func (c *cluster) keepLogs() error {
	kept := filepath.Join(benchDir, c.name+"-logs")
	if err := os.RemoveAll(kept); err != nil {
		return err
	}
	logs := os.DirFS(filepath.Join(localDir, "clusters", c.name, "logs"))
	if err := os.CopyFS(kept, logs); err != nil {
		return fmt.Errorf("keeping the logs of the cluster: %w", err)
	}
	fmt.Fprintln(os.Stderr, "The logs of the cluster are in", kept)
	return nil
}

// watchOver calls cancel when the API server is gone before the context ends. A watch would wait for it for ever.
func (c *cluster) watchOver(ctx context.Context, cancel context.CancelCauseFunc) {
	failures := 0
	_ = wait.PollUntilContextCancel(ctx, aliveInterval, false, func(ctx context.Context) (bool, error) { // ends with the context
		ctx, stop := context.WithTimeout(ctx, aliveInterval)
		defer stop()
		failures++
		if err := c.client.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{}); err == nil {
			failures = 0
		}
		if failures == aliveAttempts {
			cancel(fmt.Errorf("the API server of cluster %q does not answer any more", c.name))
		}
		return false, nil
	})
}

// hackLocal runs a command of hack/local, shows its progress and returns the last line that it printed.
func hackLocal(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"-C", filepath.Join("hack", "local"), "run", "."}, args...)...)
	detach(cmd)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("hack/local %s: %w", strings.Join(args, " "), err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1], nil
}

// prepare installs what the rounds need and connects as this program's service account.
func (c *cluster) prepare(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		return err
	}
	scheme := newScheme()
	admin, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	if err := c.install(ctx, admin); err != nil {
		return err
	}
	if c.config, err = tokenConfig(ctx, admin, config, namespace, serviceAccount); err != nil {
		return err
	}
	c.config.QPS = -1 // the API server's own limits hold
	if c.client, err = client.NewWithWatch(c.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	info, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return err
	}
	version, err := info.ServerVersion()
	if err != nil {
		return err
	}
	c.version = version.GitVersion
	return nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

func (c *cluster) install(ctx context.Context, admin client.Client) error {
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: operatorNamespace}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: serviceAccount}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bench"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: serviceAccount}},
		},
	}
	for _, object := range objects {
		if err := admin.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %T %s: %w", object, object.GetName(), err)
		}
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join("config", "crd")},
		{"apply", "-k", filepath.Join("config", "rbac")},
		{"wait", "--for=create", "--timeout=60s", "crd/batchruns.batchrun.io"},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/batchruns.batchrun.io"},
	} {
		if err := c.kubectl(ctx, "", args...); err != nil {
			return err
		}
	}
	if err := c.kubectl(ctx, stages, "apply", "-f", "-"); err != nil {
		return err
	}
	return installSchemas(ctx, admin)
}

// tokenConfig is a connection as a service account.
func tokenConfig(ctx context.Context, admin client.Client, config *rest.Config, ns, name string) (*rest.Config, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenSeconds)}}
	if err := admin.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("making a token of service account %s/%s: %w", ns, name, err)
	}
	own := rest.AnonymousClientConfig(config)
	own.BearerToken = request.Status.Token
	return own, nil
}

// setPolicy installs or removes the policy that packed waves need.
func (c *cluster) setPolicy(ctx context.Context, wanted bool) error {
	if c.policy == wanted {
		return nil
	}
	args := []string{"delete", "-k", filepath.Join("config", "policy")}
	if wanted {
		args = []string{"apply", "-k", filepath.Join("config", "policy")}
	}
	if err := c.kubectl(ctx, "", args...); err != nil {
		return err
	}
	c.policy = wanted
	return nil
}

// kubectl runs the kubectl that was built with the cluster, as its admin.
func (c *cluster) kubectl(ctx context.Context, stdin string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(localDir, "bin", "kubectl"), append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// checkRoot makes sure that the program runs where its relative paths lead somewhere.
func checkRoot() error {
	if _, err := os.Stat(filepath.Join("hack", "local", "go.mod")); err != nil {
		return errors.New("run this from the root of the repository")
	}
	return nil
}
