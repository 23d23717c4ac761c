package install

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

const chart = "config/chart"

var _ = Describe("The Helm chart", Ordered, func() {
	It("installs an operator that runs pods", func() {
		newNamespace("runs")
		begin := time.Now()
		helm("install", "batchrun", chart, "-n", operator, "--create-namespace", "--wait", "-f", localValues("v1", probePorts[0]))
		installed := time.Since(begin)
		start("runs", "first", 1, 1, "2s")
		Eventually(func() []string { return runningPods("runs") }).Should(HaveLen(1))
		AddReportEntry("from helm install to the operator ready", installed.Round(100*time.Millisecond).String())
		AddReportEntry("from helm install to the first run's pod", time.Since(begin).Round(100*time.Millisecond).String())
		Eventually(func() string { return status("runs", "first", "phase") }).Should(Equal("Succeeded"))
	})

	It("is upgraded while runs are active, and nothing is lost or done twice", func() {
		start("runs", "upgraded", 16, 2, "6s")
		Eventually(func() []string { return runningPods("runs") }).Should(HaveLen(2))
		helm("upgrade", "batchrun", chart, "-n", operator, "--wait", "-f", localValues("v2", probePorts[1]))
		Expect(kubectl("-n", operator, "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}")).To(ContainSubstring(":v2"))
		Expect(status("runs", "upgraded", "completionTime")).To(BeEmpty(), "the run was over before the upgrade was")
		Eventually(func() string { return status("runs", "upgraded", "phase") }).Should(Equal("Succeeded"))
		Expect(status("runs", "upgraded", "completions")).To(Equal("16/16"))
		Expect(status("runs", "upgraded", "podStates")).To(Equal(`[{"count":16,"state":"Completed"}]`))
		pods := kubectl("-n", "runs", "get", "pods", "-l", "batchrun.io/run=upgraded", "-o", "name")
		Expect(strings.Fields(pods)).To(HaveLen(16), "a task ran twice")
	})

	It("is uninstalled, keeps all runs, and goes on with them when it is installed again", func() {
		start("runs", "kept", 4, 2, "6s")
		Eventually(func() []string { return runningPods("runs") }).Should(HaveLen(2))
		helm("uninstall", "batchrun", "-n", operator, "--wait")
		Expect(kubectl("get", crd, "-o", "name")).NotTo(BeEmpty())
		Expect(strings.Fields(kubectl("-n", "runs", "get", "batchruns", "-o", "name"))).To(HaveLen(3))
		Expect(kubectl("-n", operator, "get", "all", "-o", "name")).NotTo(ContainSubstring("deployment"))
		namespaceGoes(operator)

		helm("install", "batchrun", chart, "-n", operator, "--create-namespace", "--wait", "-f", localValues("v2", probePorts[0]))
		Eventually(func() string { return status("runs", "kept", "phase") }).Should(Equal("Succeeded"))
		Expect(status("runs", "kept", "podStates")).To(Equal(`[{"count":4,"state":"Completed"}]`))
	})

	It("leaves nothing that blocks a namespace, whatever goes first", func() {
		start("runs", "active", 2, 2, "10m")
		Eventually(func() []string { return runningPods("runs") }).Should(HaveLen(2))
		helm("uninstall", "batchrun", "-n", operator, "--wait")
		namespaceGoes("runs")

		newNamespace("crd-first")
		helm("install", "batchrun", chart, "-n", operator, "--create-namespace", "--wait", "-f", localValues("v2", probePorts[1]))
		start("crd-first", "active", 2, 2, "10m")
		Eventually(func() []string { return runningPods("crd-first") }).Should(HaveLen(2))
		kubectl("delete", crd, "--timeout=90s")
		Eventually(func() string {
			return kubectl("-n", "crd-first", "get", "jobs,pods", "-o", "name")
		}).Should(BeEmpty(), "the garbage collector takes what belonged to the runs")
		helm("uninstall", "batchrun", "-n", operator, "--wait")
		namespaceGoes("crd-first")
		namespaceGoes(operator)
	})
})

// sweep is a run of four tasks with parameters.
const sweep = `
apiVersion: batchrun.io/v1alpha1
kind: BatchRun
metadata: {name: %s, namespace: team}
spec:
  parameters: {matrix: [{name: A, values: [a, b, c, d]}]}
  template:
    spec:
      containers:
      - {name: main, image: ` + taskImage + `, imagePullPolicy: IfNotPresent, args: [print, $(A)]}
`

var _ = Describe("An operator for one namespace", Ordered, func() {
	It("runs tasks there with the rights of a Role, and tells why sweeps are not packed", func() {
		kubectl("apply", "--server-side", "-k", "config/crd")
		kubectl("apply", "-k", "config/policy")
		kubectl("apply", "-k", "config/user-roles")
		newNamespace("team")
		helm("install", "batchrun", chart, "-n", "team", "--wait", "--set", "namespaced=true", "-f", localValues("v1", probePorts[0]))
		apply(fmt.Sprintf(sweep, "inlined"))
		Eventually(func() string { return status("team", "inlined", "phase") }).Should(Equal("Succeeded"))
		Expect(strings.Fields(kubectl("-n", "team", "get", "jobs", "-l", "batchrun.io/run=inlined", "-o", "name"))).To(HaveLen(4))
		Expect(status("team", "inlined", `conditions[?(@.type=="Packed")].message`)).To(ContainSubstring("may not read the policy"))
	})

	It("packs sweeps once it may read the policy", func() {
		DeferCleanup(kubectl, "delete", "clusterrole/batchrun-policy-reader", "clusterrolebinding/batchrun-policy-reader-team")
		kubectl("create", "clusterrole", "batchrun-policy-reader", "--verb=list,watch", "--resource-name=batchrun-parameters",
			"--resource=mutatingadmissionpolicies.admissionregistration.k8s.io,mutatingadmissionpolicybindings.admissionregistration.k8s.io")
		kubectl("create", "clusterrolebinding", "batchrun-policy-reader-team", "--clusterrole=batchrun-policy-reader",
			"--serviceaccount=team:batchrun-operator")
		kubectl("-n", "team", "delete", "pods", "-l", "app.kubernetes.io/name=batchrun", "--wait")
		apply(fmt.Sprintf(sweep, "packed"))
		Eventually(func() string { return status("team", "packed", "phase") }).Should(Equal("Succeeded"))
		Expect(strings.Fields(kubectl("-n", "team", "get", "jobs", "-l", "batchrun.io/run=packed", "-o", "name"))).To(HaveLen(1))
	})

	It("does not see the runs of other namespaces, and goes with its own", func() {
		newNamespace("other")
		start("other", "unseen", 1, 1, "1s")
		start("team", "seen", 1, 1, "1s")
		Eventually(func() string { return status("team", "seen", "phase") }).Should(Equal("Succeeded"))
		Expect(status("other", "unseen", "phase")).To(BeEmpty())
		namespaceGoes("team")
		namespaceGoes("other")
		for _, folder := range []string{"config/policy", "config/user-roles", "config/crd"} {
			kubectl("delete", "-k", folder)
		}
	})
})
