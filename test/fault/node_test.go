package fault

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// pool is the label of the nodes of a spec.
const pool = "batchrun.io/pool"

// onPool is a run of three tasks on nodes of that pool, which a lost one of them has to leave at once.
const onPool = `
completions: 3
backoffLimit: 0
template:
  spec:
    nodeSelector: {%s: ""}
    tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]
    terminationGracePeriodSeconds: 1
    containers: [{name: main}]
`

var _ = Describe("A node that is lost with its pods", func() {
	BeforeEach(func() {
		if !all {
			Skip("it takes some minutes until a node is taken for lost; FAULT=all plays it")
		}
	})

	It("is told, and once it is deleted its attempts are NodeLost and run again, uncounted", func() {
		lost := NewNode("lost", pool+"-told")
		s := NewStage(First(Runs))
		s.Create(fmt.Sprintf(onPool, pool+"-told"))
		s.RunsPods(3)
		lost.Lose()
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) {
			g.Expect(ReasonOf(run, v1alpha1.ConditionReady)).To(Equal(v1alpha1.RunPodNotEnding))
			g.Expect(MessageOf(run, v1alpha1.ConditionReady)).To(ContainSubstring("node lost"))
		})
		NewNode("spare", pool+"-told")
		lost.Delete()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("NodeLost 3, Completed 3"))
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 3}))
		for _, failure := range run.Status.Failures {
			Expect(failure.Disruption).To(BeTrue())
			Expect(failure.Node).To(Equal("lost"))
		}
	})

	It("while the operator is away: the pods are collected before it looks, and none of its tasks is lost", func() {
		lost := NewNode("away", pool+"-away")
		s := NewStage(First(Runs))
		s.Create(fmt.Sprintf(onPool, pool+"-away"))
		s.RunsPods(3)
		s.Operator.Kill()
		lost.Lose()
		lost.Delete()
		Eventually(s.Kubelet.All).Should(BeEmpty())
		NewNode("other", pool+"-away")
		s.Restart()
		run := s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(States(run)).To(Equal("Deleted 3, Completed 3"))
		Expect(Counts(run)).To(Equal([3]int32{3, 0, 3}))
	})
})
