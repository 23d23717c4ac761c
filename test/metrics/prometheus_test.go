package metrics

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/batchrun/batchrun/test/stage"
)

// job is the name of the scrape job, which the ServiceMonitor takes from the Service.
const job = "batchrun-metrics"

// start starts a program that ends with the tests, and returns when its address answers.
func start(address, program string, env []string, flags ...string) {
	GinkgoHelper()
	DeferCleanup(StartProgram(program, env, flags...).End)
	Eventually(Answers).WithArguments(address).Should(Succeed(), program)
}

// insecure does not verify certificates: the operator makes its own.
var insecure = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
}

// get returns the code and body of an answer.
func get(address, token string) (int, []byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := insecure.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// prometheus is a Prometheus that scrapes an operator.
type prometheus struct {
	address string
	alerts  []alert
}

// startPrometheus starts one that scrapes the target every second, and knows the alerts.
func startPrometheus(target, token string) *prometheus {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	p := &prometheus{address: FreeAddress(), alerts: writeRules(folder)}
	Expect(os.WriteFile(filepath.Join(folder, "token"), []byte(token), 0o600)).To(Succeed())
	Expect(os.WriteFile(filepath.Join(folder, "prometheus.yaml"), fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: %s
  scheme: https
  authorization: {credentials_file: token}
  tls_config: {insecure_skip_verify: true}
  static_configs: [{targets: ["%s"]}]
`, job, target), 0o600)).To(Succeed())
	start(p.address, built("prometheus"), nil, "--config.file="+filepath.Join(folder, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+p.address, "--log.level=warn")
	return p
}

// ask reads the data of an answer of the API.
func (p *prometheus) ask(into any, path string, query url.Values) error {
	code, body, err := get("http://"+p.address+"/api/v1/"+path+"?"+query.Encode(), "")
	if err != nil {
		return err
	}
	answer := struct{ Data any }{into}
	if code != http.StatusOK {
		return fmt.Errorf("%s: %s", path, body)
	}
	return json.Unmarshal(body, &answer)
}

// sample is one value of the result of a query.
type sample struct {
	Metric map[string]string
	// Value is the time and the value, as text.
	Value [2]any
}

// query returns the result without those values that are no numbers.
func (p *prometheus) query(query string) ([]sample, error) {
	var result struct{ Result []sample }
	if err := p.ask(&result, "query", url.Values{"query": {query}}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(result.Result, func(s sample) bool {
		value, err := strconv.ParseFloat(fmt.Sprint(s.Value[1]), 64)
		return err != nil || math.IsNaN(value)
	}), nil
}

// selectors are those of the series that a query reads.
func (p *prometheus) selectors(query string) ([]string, error) {
	var tree any
	if err := p.ask(&tree, "parse_query", url.Values{"query": {query}}); err != nil {
		return nil, err
	}
	var found []string
	var walk func(any)
	walk = func(node any) {
		switch n := node.(type) {
		case []any:
			for _, element := range n {
				walk(element)
			}
		case map[string]any:
			if n["type"] == "vectorSelector" || n["type"] == "matrixSelector" {
				var matchers []string
				list, _ := n["matchers"].([]any)
				for _, element := range list {
					m, _ := element.(map[string]any)
					matchers = append(matchers, fmt.Sprintf("%s%s%q", m["name"], m["type"], m["value"]))
				}
				found = append(found, "{"+strings.Join(matchers, ",")+"}")
			}
			for _, child := range n {
				walk(child)
			}
		}
	}
	walk(tree)
	return found, nil
}
