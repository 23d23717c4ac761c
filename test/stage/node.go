package stage

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	NodeName = "batchrun-test"
	// heartbeatInterval is well below the time after which the controller manager takes a node for lost.
	heartbeatInterval = 10 * time.Second
)

// registerNode makes a node that the scheduler binds pods to, and keeps it alive until the suite ends.
func registerNode() {
	GinkgoHelper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName, Labels: map[string]string{corev1.LabelHostname: NodeName}}}
	Expect(client.IgnoreAlreadyExists(K8sClient.Create(Ctx, node))).To(Succeed())
	Expect(heartbeat()).To(Succeed())
	stopped := make(chan struct{})
	DeferCleanup(func() {
		close(stopped)
		Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, node))).To(Succeed())
	})
	go func() {
		ticker := time.NewTicker(heartbeatInterval)
		defer ticker.Stop()
		for {
			select {
			case <-stopped:
				return
			case <-ticker.C:
				if err := heartbeat(); err != nil {
					GinkgoLogr.Error(err, "heartbeat of the node")
				}
			}
		}
	}()
	Eventually(func(g Gomega) {
		g.Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
		g.Expect(node.Spec.Taints).To(BeEmpty())
	}).Should(Succeed())
}

func heartbeat() error {
	node := &corev1.Node{}
	if err := K8sClient.Get(Ctx, client.ObjectKey{Name: NodeName}, node); err != nil {
		return err
	}
	alive := node.DeepCopy()
	alive.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10k"), corev1.ResourceMemory: resource.MustParse("10Ti"), corev1.ResourcePods: resource.MustParse("10k"),
	}
	alive.Status.Allocatable = alive.Status.Capacity
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.Now()}
	for _, old := range node.Status.Conditions {
		if old.Type == ready.Type && old.Status == ready.Status {
			ready.LastTransitionTime = old.LastTransitionTime
		}
	}
	alive.Status.Conditions = []corev1.NodeCondition{ready}
	return K8sClient.Status().Patch(Ctx, alive, client.StrategicMergeFrom(node))
}
