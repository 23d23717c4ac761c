package archive

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// watchSucceeded tells of the pods that have succeeded, which the operator's cache does not have. Nothing is kept of
// them. first gets something once all that there were are seen.
func (c *Collector) watchSucceeded(ctx context.Context, namespace string, first chan<- struct{}) {
	pods := toolscache.NewFilteredListWatchFromClient(c.Clientset.CoreV1().RESTClient(), "pods", namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = v1alpha1.LabelRunUID
		o.FieldSelector = "status.phase=" + string(corev1.PodSucceeded)
	})
	toolscache.NewReflectorWithOptions(pods, &corev1.Pod{}, &succeededPods{Collector: c, ctx: ctx, first: first, namespace: namespace},
		toolscache.ReflectorOptions{}).RunWithContext(ctx)
}

// succeededPods takes what a watch of succeeded pods tells, and keeps nothing.
type succeededPods struct {
	*Collector
	ctx       context.Context
	namespace string
	first     chan<- struct{}
	listed    bool
}

// Transformer implements toolscache.TransformingStore.
func (s *succeededPods) Transformer() toolscache.TransformFunc { return s.Transform }

// Add implements toolscache.ReflectorStore.
func (s *succeededPods) Add(object any) error {
	if pod, ok := object.(*corev1.Pod); ok {
		s.observe(s.ctx, s.slim(pod))
	}
	return nil
}

// Update implements toolscache.ReflectorStore.
func (s *succeededPods) Update(object any) error { return s.Add(object) }

// Delete implements toolscache.ReflectorStore.
func (s *succeededPods) Delete(object any) error {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.done, pod.UID)
	delete(s.succeeded, pod.UID)
	if t := s.pods[pod.UID]; t != nil {
		t.goes()
		s.schedule(s.ctx, t)
	}
	return nil
}

// Replace implements toolscache.ReflectorStore.
func (s *succeededPods) Replace(objects []any, _ string) error {
	present := make(map[types.UID]bool, len(objects))
	for _, object := range objects {
		if pod, ok := object.(*corev1.Pod); ok {
			present[pod.UID] = true
		}
	}
	s.mutex.Lock()
	if len(s.Namespaces) <= 1 { // else it does not tell of the others
		for uid := range s.succeeded {
			if _, waits := s.recovered.Load(uid); !waits && !present[uid] {
				delete(s.succeeded, uid)
				delete(s.done, uid)
			}
		}
	}
	s.mutex.Unlock()
	for _, object := range objects {
		if err := s.Add(object); err != nil {
			return err
		}
	}
	if !s.listed {
		s.listed = true
		s.first <- struct{}{}
	}
	return nil
}

// Resync implements toolscache.ReflectorStore.
func (s *succeededPods) Resync() error { return nil }
