package policy

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/batchrun/batchrun/api/v1alpha1"
	. "github.com/batchrun/batchrun/test/stage"
)

// sleeper is a spec that breaks one rule.
const sleeper = `template: {spec: {containers: [{command: [sleep, infinity]}]}}`

// good are the resources of a container that says nothing else.
const good = `{requests: {cpu: "1", memory: 1Gi}, limits: {cpu: "1", memory: 1Gi}}`

// specOf reads the YAML of a spec. Containers have a name and an image; and resources and a command, unless the YAML has
// the field, be it empty.
func specOf(text string) v1alpha1.BatchRunSpec {
	GinkgoHelper()
	var spec v1alpha1.BatchRunSpec
	Expect(yaml.UnmarshalStrict([]byte(text), &spec)).To(Succeed(), text)
	pod := &spec.Template.Spec
	pod.RestartPolicy = corev1.RestartPolicyNever
	if len(pod.Containers) == 0 {
		pod.Containers = []corev1.Container{{}}
	}
	for i := range pod.Containers {
		fill(&pod.Containers[i], fmt.Sprintf("main%d", i))
	}
	for i := range pod.InitContainers {
		fill(&pod.InitContainers[i], fmt.Sprintf("init%d", i))
	}
	return spec
}

func fill(container *corev1.Container, name string) {
	GinkgoHelper()
	container.Name, container.Image = name, "example"
	if container.Command == nil && container.Args == nil {
		container.Command = []string{"./train"}
	}
	if container.Resources.Requests == nil && container.Resources.Limits == nil {
		Expect(yaml.UnmarshalStrict([]byte(good), &container.Resources)).To(Succeed())
	}
}

// command is the spec of a run with this command.
func command(words ...string) v1alpha1.BatchRunSpec {
	GinkgoHelper()
	spec := specOf("{}")
	spec.Template.Spec.Containers[0].Command = words
	return spec
}

// run is a run with this spec; without a name it gets one.
func run(name, namespace string, spec v1alpha1.BatchRunSpec) *v1alpha1.BatchRun {
	return &v1alpha1.BatchRun{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, GenerateName: "run-"}, Spec: spec}
}

// jobOf is a Job of the same tasks.
func jobOf(namespace string, spec v1alpha1.BatchRunSpec) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "job-"},
		Spec: batchv1.JobSpec{
			Template: spec.Template, Completions: spec.Completions, Parallelism: spec.Parallelism,
			ActiveDeadlineSeconds: spec.ActiveDeadlineSeconds,
		},
	}
}

func cronJobOf(namespace string, spec v1alpha1.BatchRunSpec) *batchv1.CronJob {
	return &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "cronjob-"},
		Spec: batchv1.CronJobSpec{
			Schedule:    "0 0 * * *",
			JobTemplate: batchv1.JobTemplateSpec{Spec: jobOf(namespace, spec).Spec},
		},
	}
}

// expectProblems has a run judged in every mode, and a Job and a CronJob of the same tasks; each problem is given by words
// of it. No words mean that nothing is wrong.
func expectProblems(spec v1alpha1.BatchRunSpec, problems ...string) {
	GinkgoHelper()
	expectIn(func(namespace string) client.Object { return run("", namespace, spec) }, problems)
	if spec.Parameters != nil {
		return
	}
	job := problems
	if spec.Parallelism == nil && spec.Completions != nil { // one task after the other
		job = nil
		for _, problem := range problems {
			if !strings.Contains(problem, "active at once") {
				job = append(job, problem)
			}
		}
	}
	expectIn(func(namespace string) client.Object { return jobOf(namespace, spec) }, job)
	expectIn(func(namespace string) client.Object { return cronJobOf(namespace, spec) }, job)
}

func expectIn(object func(namespace string) client.Object, problems []string) {
	GinkgoHelper()
	warnings = nil
	expectMatch(refusal(judged.Create(Ctx, object(denied), client.DryRunAll)), problems)
	Expect(warnings).To(BeEmpty(), "deny does not warn")

	Expect(judged.Create(Ctx, object(unlabelled), client.DryRunAll)).To(Succeed())
	Expect(len(warnings)).To(BeNumerically("<=", 1))
	expectMatch(problemsIn(strings.Join(warnings, "")), problems)

	warnings = nil
	Expect(judged.Create(Ctx, object(audited), client.DryRunAll)).To(Succeed())
	auditable += min(len(problems), 1)
	Expect(judged.Create(Ctx, object(exempt), client.DryRunAll)).To(Succeed())
	Expect(warnings).To(BeEmpty(), "neither audit nor exempt warns")
}

// refusal are the problems that an error tells.
func refusal(err error) []string {
	GinkgoHelper()
	if err == nil {
		return nil
	}
	Expect(err).To(Satisfy(apierrors.IsInvalid))
	Expect(err.Error()).To(ContainSubstring("denied request: "))
	return problemsIn(err.Error())
}

var (
	preamble = regexp.MustCompile(`^.*with binding '[a-z-]+'( denied request)?: `)
	count    = regexp.MustCompile(`^[0-9]+ problems: `)
	audits   = regexp.MustCompile(
		`(?m)^apiserver_validating_admission_policy_check_total\{enforcement_action="audit",error_type="invalid_error",` +
			`policy="batchrun-site-rules",policy_binding="batchrun-site-rules-(?:jobs-)?audit"\} ([0-9]+)$`)
)

// problemsIn takes a message apart.
func problemsIn(message string) []string {
	GinkgoHelper()
	if message == "" {
		return nil
	}
	Expect(message).To(MatchRegexp(preamble.String()))
	message = preamble.ReplaceAllString(message, "")
	counted := count.FindString(message)
	problems := strings.Split(strings.TrimPrefix(message, counted), " | ")
	if last := problems[len(problems)-1]; strings.HasPrefix(last, "figures of ") {
		problems = problems[:len(problems)-1]
	}
	if counted == "" {
		Expect(problems).To(HaveLen(1))
	} else if len(problems) <= 10 {
		Expect(counted).To(Equal(fmt.Sprintf("%d problems: ", len(problems))))
	}
	return problems
}

// expectMatch expects these problems and no others; the words of each may be in several places, with … between them.
func expectMatch(told, problems []string) {
	GinkgoHelper()
	Expect(told).To(HaveLen(len(problems)), "told: %q", told)
	for i, problem := range problems {
		for words := range strings.SplitSeq(problem, "…") {
			Expect(told[i]).To(ContainSubstring(words))
		}
	}
}

// auditable are the violations that the API server should have counted for the audit log.
var auditable int

// violations are all that the API server has counted for the audit log.
func violations() int {
	GinkgoHelper()
	httpClient, err := rest.HTTPClientFor(Cfg)
	Expect(err).NotTo(HaveOccurred())
	request, err := http.NewRequestWithContext(Ctx, http.MethodGet, Cfg.Host+"/metrics", http.NoBody)
	Expect(err).NotTo(HaveOccurred())
	response, err := httpClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	sum := 0
	for _, match := range audits.FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(match[1]))
		Expect(err).NotTo(HaveOccurred())
		sum += n
	}
	return sum
}
