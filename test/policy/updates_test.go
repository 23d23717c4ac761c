package policy

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// tighten puts a namespace under the rules, and waits until they hold.
func tighten(namespace string) {
	GinkgoHelper()
	setMode(namespace, "deny")
	Eventually(func() error {
		return judged.Create(Ctx, run("", namespace, specOf(sleeper)), client.DryRunAll)
	}, PropagateTime).ShouldNot(Succeed())
}

func patch(object client.Object, change string) error {
	GinkgoHelper()
	document, err := yaml.YAMLToJSON([]byte(change))
	Expect(err).NotTo(HaveOccurred())
	return judged.Patch(Ctx, object.DeepCopyObject().(client.Object), client.RawPatch(types.MergePatchType, document))
}

// ownedBy is what a controller's object says of its owner.
func ownedBy(kind, apiVersion string, owner client.Object) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true)}}
}

var _ = Describe("Rules that come later", func() {
	var (
		namespace string
		old       *v1alpha1.BatchRun
	)

	BeforeEach(func() {
		namespace = newNamespace("exempt")
		spec := specOf("{completions: 50, parallelism: 50}")
		spec.Template.Spec.Containers[0].Command = []string{"sleep", "infinity"}
		spec.Template.Spec.Containers[0].Resources.Limits = nil
		old = run("old", namespace, spec)
		Expect(judged.Create(Ctx, old)).To(Succeed())
	})

	It("let an old run be, whatever else of it changes", func() {
		tighten(namespace)
		for _, change := range []string{
			"spec: {suspend: true}", "spec: {suspend: false}", "spec: {cancel: true}", `spec: {rerun: {token: "1"}}`,
			"spec: {parallelism: 10}", "spec: {completions: 60}", "spec: {completions: 40}", "spec: {backoffLimit: 1}",
			"spec: {activeDeadlineSeconds: 60}", "metadata: {labels: {team: a}}", "metadata: {finalizers: [example.com/keep]}",
			"metadata: {finalizers: []}", "spec: {template: {metadata: {labels: {team: a}}}}",
		} {
			Expect(patch(old, change)).To(Succeed(), change)
		}
		Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(old), old)).To(Succeed())
		old.Status.Phase = v1alpha1.PhaseRunning
		Expect(judged.Status().Update(Ctx, old)).To(Succeed())
		Expect(judged.Delete(Ctx, old)).To(Succeed())
	})

	It("let an unchanged file be applied again", func() {
		file := fmt.Sprintf("apiVersion: batchrun.io/v1alpha1\nkind: BatchRun\nmetadata: {name: applied}\nspec: {%s}",
			"template: {spec: {containers: [{name: main, image: example, command: [sleep, infinity]}]}}")
		for _, how := range [][]string{{}, {"--server-side"}} {
			setMode(namespace, "exempt")
			apply := append([]string{"apply", "--namespace", namespace, "-f", "-"}, how...)
			Eventually(func() error { _, err := Kubectl(file, apply...); return err }, PropagateTime).Should(Succeed())
			tighten(namespace)
			out, err := Kubectl(file, apply...)
			Expect(err).NotTo(HaveOccurred(), out)
			out, err = Kubectl(strings.Replace(file, "infinity", "inf", 1), apply...)
			Expect(err).To(HaveOccurred())
			Expect(out).To(ContainSubstring(`"sleep inf" never ends`))
			out, err = Kubectl("", "delete", "--namespace", namespace, "batchrun/applied")
			Expect(err).NotTo(HaveOccurred(), out)
		}
	})

	It("judge what an update changes", func() {
		tighten(namespace)
		template := `spec: {template: {spec: {containers: [{name: main, image: other, command: [sleep, infinity]}]}}}`
		expectMatch(refusal(patch(old, template)), []string{`"sleep infinity" never ends`, "has no request of cpu and memory"})
		expectMatch(refusal(patch(old, "spec: {completions: 1000, parallelism: 401}")), []string{
			"cpu has a request (1) and no limit", "memory has a request (1Gi) and no limit", "401 tasks may be active at once"})
		expectMatch(refusal(patch(old, "spec: {completions: 101}")), []string{
			"cpu has a request (1) and no limit", "memory has a request (1Gi) and no limit"})
	})

	It("let what is too much become less, and not more", func() {
		big := run("big", namespace, specOf("{completions: 1000, parallelism: 900}"))
		Expect(judged.Create(Ctx, big)).To(Succeed())
		tighten(namespace)
		Expect(patch(big, "spec: {parallelism: 800}")).To(Succeed())
		expectMatch(refusal(patch(big, "spec: {parallelism: 801}")), []string{"801 tasks may be active at once"})
		Expect(patch(big, "spec: {parallelism: 400}")).To(Succeed())
	})

	It("let an old Job and an old CronJob be", func() {
		job, cronJob := jobOf(namespace, old.Spec), cronJobOf(namespace, old.Spec)
		Expect(judged.Create(Ctx, job)).To(Succeed())
		Expect(judged.Create(Ctx, cronJob)).To(Succeed())
		tighten(namespace)
		for _, object := range []client.Object{job, cronJob} {
			Expect(patch(object, "spec: {suspend: true}")).To(Succeed())
			Expect(patch(object, "metadata: {labels: {team: a}}")).To(Succeed())
		}
		change := "spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: main0, image: other, command: ['yes']}]}}}}}"
		expectMatch(refusal(patch(cronJob, change)), []string{
			`spec.jobTemplate.spec.template.spec.containers[0] (main0): "yes" never ends`, "has no request of cpu and memory"})
	})

	It("do not judge a run's Jobs again, but one that only says it is", func() {
		tighten(namespace)
		restConfig := rest.CopyConfig(Cfg)
		restConfig.Impersonate = rest.ImpersonationConfig{UserName: OperatorUser}
		operator, err := client.New(restConfig, client.Options{Scheme: Scheme})
		Expect(err).NotTo(HaveOccurred())

		job := jobOf(namespace, old.Spec)
		Expect(refusal(operator.Create(Ctx, job.DeepCopy(), client.DryRunAll))).NotTo(BeEmpty())
		job.OwnerReferences = ownedBy("BatchRun", v1alpha1.GroupVersion.String(), old)
		Expect(operator.Create(Ctx, job.DeepCopy(), client.DryRunAll)).To(Succeed())
		Expect(refusal(Tenant(namespace).Create(Ctx, job, client.DryRunAll))).NotTo(BeEmpty())
	})

	It("do not judge a CronJob's Jobs again, but one that only says it is", func() {
		cronJob := cronJobOf(namespace, old.Spec)
		cronJob.Spec.Schedule = "* * * * *"
		Expect(judged.Create(Ctx, cronJob)).To(Succeed())
		tighten(namespace)
		job := jobOf(namespace, old.Spec)
		job.OwnerReferences = ownedBy("CronJob", "batch/v1", cronJob)
		Expect(refusal(judged.Create(Ctx, job.DeepCopy(), client.DryRunAll))).NotTo(BeEmpty())

		restConfig := rest.CopyConfig(Cfg)
		restConfig.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:cronjob-controller"}
		controller, err := client.New(restConfig, client.Options{Scheme: Scheme})
		Expect(err).NotTo(HaveOccurred())
		Expect(controller.Create(Ctx, job, client.DryRunAll)).To(Succeed())
	})
})

var _ = Describe("A run that breaks the rules", func() {
	It("runs where they warn, and runs again where they came to refuse later", func() {
		s := NewStage(Always(Succeeds))
		s.Create(`{}`)
		s.Finishes(v1alpha1.PhaseSucceeded)

		tighten(s.Namespace)
		s.Patch(`rerun: {token: "1", scope: All}`)
		s.Eventually(func(g Gomega, run *v1alpha1.BatchRun) { g.Expect(run.Status.Reruns).To(HaveLen(1)) })
		s.Finishes(v1alpha1.PhaseSucceeded)
		Expect(s.Jobs()).To(HaveLen(2))
		s.Poke()
	})
})

var _ = Describe("A missing ConfigMap", func() {
	It("refuses all where the rules refuse, and nothing else", func() {
		Expect(judged.Delete(Ctx, figures())).To(Succeed())
		DeferCleanup(func() {
			install("nrp")
			awaitFigures("")
		})
		Eventually(func(g Gomega) {
			err := judged.Create(Ctx, run("", denied, specOf("{}")), client.DryRunAll)
			g.Expect(err).To(MatchError(ContainSubstring("failed to configure binding: no params found")))
		}, PropagateTime).Should(Succeed())
		warnings = nil
		Expect(judged.Create(Ctx, run("", unlabelled, specOf(sleeper)), client.DryRunAll)).To(Succeed())
		Expect(judged.Create(Ctx, run("", audited, specOf(sleeper)), client.DryRunAll)).To(Succeed())
		Expect(warnings).To(BeEmpty())
	})

	It("says which figure is no number", func() {
		config := figures()
		Expect(K8sClient.Get(Ctx, client.ObjectKeyFromObject(config), config)).To(Succeed())
		config.Data["maxParallelism"] = "many"
		Expect(K8sClient.Update(Ctx, config)).To(Succeed())
		DeferCleanup(func() {
			install("nrp")
			awaitFigures("")
		})
		Eventually(func(g Gomega) {
			err := judged.Create(Ctx, run("", denied, specOf("{}")), client.DryRunAll)
			g.Expect(err).To(MatchError(And(ContainSubstring("maxParallelism is many"), ContainSubstring("no whole number"))))
		}, PropagateTime).Should(Succeed())
	})
})

var _ = Describe("The rules' cost", func() {
	// fast bounds what the API server may take for the biggest objects. They take a second when nothing else runs.
	const fast = 10 * time.Second

	// containers is a spec of so many containers with a script of 10 KB.
	containers := func(n int, lines ...string) v1alpha1.BatchRunSpec {
		spec := specOf("{}")
		script := strings.Repeat(strings.Join(lines, "\n")+"\n", 10_000/(len(strings.Join(lines, "\n"))+1))
		first := spec.Template.Spec.Containers[0]
		for i := range n {
			container := first
			container.Name, container.Command = fmt.Sprintf("c%d", i), []string{"bash", "-c", "set -e\n" + script}
			if i == 0 {
				spec.Template.Spec.Containers = nil
			}
			spec.Template.Spec.Containers = append(spec.Template.Spec.Containers, container)
		}
		return spec
	}
	honest := []string{
		"# Prepare the data, and wait for the others to finish.", "for part in $(seq 1 100); do",
		"  curl --silent --fail https://example.com/parts/$part > part-$part.csv", "done", "cat part-*.csv > all.csv",
		"python train.py --data all.csv --epochs 100 --batch-size 64 --output results/model.pt",
		"python evaluate.py --model results/model.pt --metrics accuracy,loss > results/metrics.json",
		"tar czf results.tar.gz results", "aws s3 cp results.tar.gz s3://example/results/$BATCHRUN_TASK_INDEX.tar.gz",
	}

	It("lets 100 containers with 10 KB of script each be judged", func() {
		spec := containers(100, honest...)
		start := time.Now()
		Expect(judged.Create(Ctx, jobOf(denied, spec), client.DryRunAll)).To(Succeed())
		GinkgoWriter.Printf("accepted after %s\n", time.Since(start))
		Expect(time.Since(start)).To(BeNumerically("<", fast))

		last := &spec.Template.Spec.Containers[99]
		last.Command[2] += "while true; do sleep 1; done\n"
		start = time.Now()
		expectMatch(refusal(judged.Create(Ctx, jobOf(denied, spec), client.DryRunAll)),
			[]string{"spec.template.spec.containers[99] (c99): …is a loop without end"})
		GinkgoWriter.Printf("refused after %s\n", time.Since(start))
		Expect(time.Since(start)).To(BeNumerically("<", fast))
	})

	It("refuses in time what is made to be costly", func() {
		for _, line := range []string{"sleep 1", "while true; do true; done", "tail -f x & yes | watch", "(((((((((((((((sleep"} {
			start := time.Now()
			err := judged.Create(Ctx, jobOf(denied, containers(100, line)), client.DryRunAll)
			GinkgoWriter.Printf("%s: after %s: %.300v\n", line, time.Since(start), err)
			Expect(err).To(HaveOccurred(), line)
			Expect(time.Since(start)).To(BeNumerically("<", fast), line)
		}
	})

	It("refuses commands of more than 1.2 million characters", func() {
		expectMatch(refusal(judged.Create(Ctx, jobOf(denied, containers(140, honest...)), client.DryRunAll)),
			[]string{"spec.template.spec: its commands have 1…too many to be judged"})
	})
})

// figures is the ConfigMap of the rules.
func figures() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: OperatorNamespace, Name: siteRules}}
}
