package stage

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/batchrun/batchrun/api/v1alpha1"
)

// SeeAll makes the stage's operator that of all namespaces, as an installed one is. Those of other stages are to be
// killed.
func (s *Stage) SeeAll() {
	GinkgoHelper()
	s.Operator.Kill()
	s.Operator = startOperator(metav1.NamespaceAll, &Wire{}, s.Clock, s.Logs, s.Limits)
}

// Tenant is the client of a user who has the cluster's role edit in one namespace, and no other rights.
func Tenant(namespace string) client.Client {
	GinkgoHelper()
	user := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "tenant-of-" + namespace}
	Expect(K8sClient.Create(Ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tenant"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{user},
	})).To(Succeed())
	restConfig := rest.CopyConfig(Cfg)
	restConfig.Impersonate = rest.ImpersonationConfig{UserName: user.Name, Groups: []string{"system:authenticated"}}
	tenant, err := client.New(restConfig, client.Options{Scheme: Scheme})
	Expect(err).NotTo(HaveOccurred())
	Eventually(func() error { // the binding, and what edit gets from config/rbac, take a moment
		return tenant.List(Ctx, &v1alpha1.BatchRunList{}, client.InNamespace(namespace))
	}, PropagateTime).Should(Succeed())
	return tenant
}
