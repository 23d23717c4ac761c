package cli

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/record"
	"github.com/batchrun/batchrun/controllers/parameters"
)

// fieldManager is the name that the plugin writes fields by.
const fieldManager = "kubectl-batchrun"

// page is how many objects are asked for at once.
const page = 500

// cluster is the cluster and namespace that the flags name.
type cluster struct {
	client.WithWatch

	namespace string
	config    *rest.Config
}

func (p *plugin) cluster() (*cluster, error) {
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.WarningHandler = rest.NewWarningWriter(p.ErrOut, rest.WarningWriterOptions{Deduplicate: true})
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return &cluster{WithWatch: c, namespace: namespace, config: config}, nil
}

// clientset is for what the client has not: the logs of pods.
func (c *cluster) clientset() (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(c.config)
}

// run reads a run.
func (c *cluster) run(ctx context.Context, name string) (*v1alpha1.BatchRun, error) {
	run := &v1alpha1.BatchRun{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, run); err != nil {
		return nil, c.explained(err, name)
	}
	return run, nil
}

// pods lists the pods of a run that are there; with the name of a Job those of this wave.
func (c *cluster) pods(ctx context.Context, run *v1alpha1.BatchRun, job string) ([]corev1.Pod, error) {
	labels := client.MatchingLabels{v1alpha1.LabelRunUID: string(run.UID)}
	if job != "" {
		labels[batchv1.JobNameLabel] = job
	}
	var pods []corev1.Pod
	token := ""
	for {
		list := &corev1.PodList{}
		err := c.List(ctx, list, client.InNamespace(run.Namespace), client.Limit(page), client.Continue(token), labels)
		if err != nil {
			return nil, fmt.Errorf("listing the pods of the run: %w", err)
		}
		for i := range list.Items {
			pods = append(pods, record.Slim(&list.Items[i]))
		}
		if token = list.Continue; token == "" {
			return pods, nil
		}
	}
}

// table reads which task of a run has which parameters.
func (c *cluster) table(ctx context.Context, run *v1alpha1.BatchRun) (*parameters.Table, error) {
	if run.Spec.Parameters == nil {
		return parameters.ArrayTable(run.Spec.TaskCount()), nil
	}
	list := &appsv1.ControllerRevisionList{}
	err := c.List(ctx, list, client.InNamespace(run.Namespace), client.MatchingLabels{v1alpha1.LabelRunUID: string(run.UID)})
	if err != nil {
		return nil, fmt.Errorf("listing the ControllerRevisions of the run, which tell its parameters: %w", err)
	}
	return parameters.TableOf(run, parameters.Revisions(run, list.Items))
}

// record reads a run with all that tells of its tasks. What the user may not read is left out, and said.
func (p *plugin) record(ctx context.Context, c *cluster, name string) (*record.Run, error) {
	run, err := c.run(ctx, name)
	if err != nil {
		return nil, err
	}
	table, err := c.table(ctx, run)
	if err != nil {
		p.note("Without the parameters of the tasks: %s", err)
	}
	pods, err := c.pods(ctx, run, "")
	if err != nil {
		p.note("Without what the pods tell: %s", err)
	}
	return record.New(run, table, pods)
}

// nameOf takes the kind off a name such as batchrun/train.
func nameOf(argument string) string {
	return argument[strings.LastIndexByte(argument, '/')+1:]
}
