package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// The first address of Kubernetes' default service range is the API server's.
const serviceIP = "10.0.0.1"

// identity is a certificate that the cluster's authority signs.
type identity struct {
	name   string // of the files
	user   string
	groups []string
	server bool
}

func (c *Cluster) identities() []identity {
	return []identity{
		{name: "apiserver", user: "kube-apiserver", groups: []string{"system:masters"}, server: true},
		{name: "etcd", user: "etcd", server: true},
		{name: "admin", user: "admin", groups: []string{"system:masters"}},
		{name: "controller-manager", user: "system:kube-controller-manager"},
		{name: "scheduler", user: "system:kube-scheduler"},
		{name: "kubelet", user: "system:node:" + c.Name, groups: []string{"system:nodes"}, server: true},
		{name: "front-proxy", user: "front-proxy-client"},
	}
}

func (c *Cluster) cert(name string) string { return c.path("pki", name+".crt") }
func (c *Cluster) key(name string) string  { return c.path("pki", name+".key") }

// makeCertificates makes the authority, a certificate for every part, the key
// that signs service account tokens, and the kubeconfigs. They are made once, as
// a set: the last file written says that the set is whole.
func (c *Cluster) makeCertificates() error {
	whole := c.path("pki", "whole")
	if _, err := os.Stat(whole); err != nil {
		if err := c.makeKeys(); err != nil {
			return fmt.Errorf("make certificates: %w", err)
		}
		if err := writeFile(whole, nil, 0o644); err != nil {
			return err
		}
	}
	// Kubeconfigs name the port, which may have changed.
	for _, f := range []struct{ file, identity string }{
		{"kubeconfig", "admin"},
		{"pki/controller-manager.kubeconfig", "controller-manager"},
		{"pki/scheduler.kubeconfig", "scheduler"},
		{"pki/kubelet.kubeconfig", "kubelet"},
	} {
		if err := c.writeKubeconfig(c.path(f.file), f.identity); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) makeKeys() error {
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return err
	}
	caKey, err := c.writeKey("ca")
	if err != nil {
		return err
	}
	ca := certificateTemplate(pkix.Name{CommonName: c.id()})
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if ca, err = c.writeCert("ca", ca, ca, caKey.Public(), caKey); err != nil {
		return err
	}
	for _, id := range c.identities() {
		key, err := c.writeKey(id.name)
		if err != nil {
			return err
		}
		t := certificateTemplate(pkix.Name{CommonName: id.user, Organization: id.groups})
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if id.server {
			t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
			t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.ParseIP(serviceIP)}
			t.DNSNames = []string{"localhost", c.Name,
				"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
		}
		if _, err := c.writeCert(id.name, t, ca, key.Public(), caKey); err != nil {
			return err
		}
	}
	// RSA, because clients that verify tokens themselves all know RS256.
	sa, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return writePEM(c.key("service-accounts"), "PRIVATE KEY", sa)
}

func certificateTemplate(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
	}
}

func (c *Cluster) writeKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, writePEM(c.key(name), "PRIVATE KEY", key)
}

func writePEM(path, kind string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (c *Cluster) writeCert(name string, t, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key, signer)
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := writeFile(c.cert(name), data, 0o644); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// writeKubeconfig writes a kubeconfig with everything in it, so that it can be
// copied elsewhere.
func (c *Cluster) writeKubeconfig(path, identity string) error {
	var data [3]string
	for i, file := range []string{c.cert("ca"), c.cert(identity), c.key(identity)} {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	name := "batchrun-" + c.Name
	return writeFile(path, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster:
    server: https://127.0.0.1:%[2]d
    certificate-authority-data: %[3]s
users:
- name: %[1]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s
current-context: %[1]s
`, name, c.Ports.API, data[0], data[1], data[2]), 0o600)
}

// tlsConfig is that of a client which trusts and is trusted by the cluster.
func (c *Cluster) tlsConfig() (*tls.Config, error) {
	ca, err := os.ReadFile(c.cert("ca"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(c.cert("admin"), c.key("admin"))
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}, nil
}
