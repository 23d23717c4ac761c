package stage

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// FreeAddress is one of this machine on which nothing listens.
func FreeAddress() string {
	GinkgoHelper()
	listener, err := new(net.ListenConfig).Listen(Ctx, "tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	return listener.Addr().String()
}

// Answers is nil where somebody listens on an address.
func Answers(address string) error {
	connection, err := (&net.Dialer{}).DialContext(Ctx, "tcp", address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// Metric reads a metric without labels, of an operator that serves it without TLS at the address.
func Metric(address, name string) (float64, error) {
	request, err := http.NewRequestWithContext(Ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}
