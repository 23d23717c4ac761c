package archiveapi

import (
	"crypto/x509"
	"maps"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/cert"
)

const host = "batchrun-archive.batchrun-system.svc"

// trusts tells whether a client that trusts one Secret's authority takes another one's certificate.
func trusts(t *testing.T, bundle, serving map[string][]byte, at time.Time) bool {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle[caCertKey])
	c, _, err := parse(serving[certKey], serving[keyKey])
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}

func TestCertificatesAreRenewedInTime(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	day := 24 * time.Hour
	first, err := renew(nil, host, now)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(first).To(And(HaveLen(4), HaveKey("ca.crt"), HaveKey("ca.key"), HaveKey("tls.crt"), HaveKey("tls.key")))
	g.Expect(trusts(t, first, first, now)).To(BeTrue())
	again := func(at time.Time) map[string][]byte {
		data, err := renew(first, host, at)
		g.Expect(err).NotTo(HaveOccurred())
		return data
	}
	g.Expect(again(now)).To(BeNil())
	g.Expect(again(now.Add(59*day))).To(BeNil(), "it is good for 90 days, and a third of them is left")

	second := again(now.Add(61 * day))
	g.Expect(second[certKey]).NotTo(Equal(first[certKey]))
	g.Expect(second[caCertKey]).To(Equal(first[caCertKey]), "the authority is good for ten years")
	g.Expect(trusts(t, first, second, now.Add(150*day))).To(BeTrue())

	later := now.Add(7 * 365 * day)
	third := again(later)
	g.Expect(third[caCertKey]).NotTo(Equal(first[caCertKey]))
	g.Expect(third[caKeyKey]).To(Equal(first[caKeyKey]))
	g.Expect(trusts(t, first, third, later)).To(BeTrue(), "who does not know the new authority yet takes the new certificate")

	ca, caKey, err := parse(first[caCertKey], first[caKeyKey])
	g.Expect(err).NotTo(HaveOccurred())
	serving, err := sign(ca, caKey, caKey.Public(), host, later.Add(-day))
	g.Expect(err).NotTo(HaveOccurred())
	text, err := cert.EncodeCertificates(serving)
	g.Expect(err).NotTo(HaveOccurred())
	before := map[string][]byte{certKey: text, keyKey: first[caKeyKey]}
	g.Expect(trusts(t, third, before, later)).To(BeTrue(), "who knows the new authority takes the old certificate")
}

func TestASecretThatIsSpoiltIsMadeAnew(t *testing.T) {
	now := time.Now()
	good, err := renew(nil, host, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := renew(nil, host, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(map[string][]byte){
		"no authority":                    func(data map[string][]byte) { delete(data, caCertKey) },
		"no certificate":                  func(data map[string][]byte) { delete(data, certKey) },
		"rubbish":                         func(data map[string][]byte) { data[keyKey] = []byte("rubbish") },
		"another key":                     func(data map[string][]byte) { data[keyKey] = other[keyKey] },
		"the key of another authority":    func(data map[string][]byte) { data[caKeyKey] = other[caKeyKey] },
		"another authority":               func(data map[string][]byte) { data[caCertKey], data[caKeyKey] = other[caCertKey], other[caKeyKey] },
		"a certificate, not an authority": func(data map[string][]byte) { data[caCertKey], data[caKeyKey] = data[certKey], data[keyKey] },
	} {
		data := maps.Clone(good)
		spoil(data)
		renewed, err := renew(data, host, now)
		if err != nil || renewed == nil || !trusts(t, renewed, renewed, now) {
			t.Errorf("%s: %v, renewed: %t", name, err, renewed != nil)
		}
	}
	renewed, err := renew(good, "another."+host, now)
	if err != nil || renewed == nil {
		t.Errorf("another name of the Service: %v, renewed: %t", err, renewed != nil)
	}
}
