package integration

import (
	"os"
	"path/filepath"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

var _ = Describe("What the operator asks of the API server", func() {
	It("for a task that succeeds: one Job, at most three statuses, two Events", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{}`)
		s.Finishes(v1alpha1.PhaseSucceeded)
		Eventually(s.Events).Should(HaveLen(2))
		s.CaughtUp()
		s.Reconcile(3)

		written := s.Operator.Wire.Written()
		status := RequestTo("patch", "batchrun.io", "batchruns/status")
		Expect(written[status]).To(BeNumerically("<=", 3))
		delete(written, status)
		Expect(written).To(Equal(map[Request]int{
			RequestTo("create", "batch", "jobs"):           1,
			RequestTo("create", "events.k8s.io", "events"): 2,
		}))
	})
})

// unseen are permissions that the suite does not show the need of.
var unseen = []Request{
	// The admission plugin OwnerReferencesPermissionEnforcement, where it is on, asks for it.
	RequestTo("update", v1alpha1.GroupVersion.Group, "batchruns/finalizers"),
	// The recorder patches an Event that is told twice of the same version of a run.
	RequestTo("patch", "events.k8s.io", "events"),
}

var _ = ReportAfterSuite("the operator's role allows what the operator does, and nothing else", func(report Report) {
	content, err := os.ReadFile(filepath.Join(Root, "config", "rbac", "role.yaml"))
	Expect(err).NotTo(HaveOccurred())
	var role rbacv1.ClusterRole
	Expect(yaml.UnmarshalStrict(content, &role)).To(Succeed())
	allowed := map[Request]bool{}
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					allowed[RequestTo(verb, group, resource)] = true
				}
			}
		}
	}
	EveryRequest.Range(func(key, _ any) bool {
		Expect(allowed).To(HaveKey(key), "the operator asks for what its role does not allow")
		return true
	})
	specs := report.SpecReports.WithLeafNodeType(types.NodeTypeIt)
	if specs.CountWithState(types.SpecStatePassed) < len(specs) {
		return // only the whole suite needs all of the role
	}
	for permission := range allowed {
		_, used := EveryRequest.Load(permission)
		if permission.Verb == "list" { // a cache lists where an older API server cannot stream what there is
			_, watched := EveryRequest.Load(RequestTo("watch", permission.Group, permission.Resource))
			used = used || watched
		}
		Expect(used || slices.Contains(unseen, permission)).To(BeTrue(), "the role allows what the operator never does: %s", permission)
	}
})
