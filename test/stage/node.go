package stage

import (
	"sync"
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

// Node is a node that the scheduler binds pods to.
type Node struct {
	name string
	lost chan struct{}
	once sync.Once
}

// lostNodes are those whose kubelet does nothing any more.
var lostNodes sync.Map

// NewNode makes a node with a label besides its hostname, and keeps it alive until it is lost or what called this ends.
func NewNode(name, label string) *Node {
	GinkgoHelper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, label: ""}}}
	Expect(client.IgnoreAlreadyExists(K8sClient.Create(Ctx, node))).To(Succeed())
	Expect(heartbeat(name)).To(Succeed())
	n := &Node{name: name, lost: make(chan struct{})}
	DeferCleanup(func() {
		n.Lose()
		n.Delete()
	})
	go n.live()
	Eventually(func(g Gomega) {
		g.Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(node), node)).To(Succeed())
		g.Expect(node.Spec.Taints).To(BeEmpty())
	}).Should(Succeed())
	return n
}

func (n *Node) live() {
	ticker := time.NewTicker(heartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-n.lost:
			return
		case <-ticker.C:
			if err := heartbeat(n.name); err != nil {
				GinkgoLogr.Error(err, "heartbeat of the node")
			}
		}
	}
}

// Lose has nobody hear of the node again, nor of its pods.
func (n *Node) Lose() {
	n.once.Do(func() {
		lostNodes.Store(n.name, true)
		close(n.lost)
	})
}

// Delete deletes it, as an admin does who knows that it is lost.
func (n *Node) Delete() {
	GinkgoHelper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name}}
	Expect(client.IgnoreNotFound(K8sClient.Delete(Ctx, node))).To(Succeed())
}

func heartbeat(name string) error {
	node := &corev1.Node{}
	if err := K8sClient.Get(Ctx, client.ObjectKey{Name: name}, node); err != nil {
		return err
	}
	alive := node.DeepCopy()
	alive.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("10k"), corev1.ResourceMemory: resource.MustParse("10Ti"),
		corev1.ResourcePods: resource.MustParse("10k"),
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
