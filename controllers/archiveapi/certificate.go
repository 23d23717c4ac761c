package archiveapi

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// secretName is the Secret of the certificate, in the namespace of the Service.
	secretName = "batchrun-archive-certificate"
	// What is in the Secret.
	caCertKey, caKeyKey = "ca.crt", "ca.key"
	certKey, keyKey     = corev1.TLSCertKey, corev1.TLSPrivateKeyKey

	// lifetime is that of a serving certificate. It is renewed when a third of it is left.
	lifetime = 90 * 24 * time.Hour
	// skew is what clocks may differ by.
	skew = time.Hour
	// lookPeriod and retryPeriod are how often a replica looks for a new certificate, and when something went wrong.
	lookPeriod  = 10 * time.Second
	retryPeriod = 2 * time.Second
)

// apiService is the APIService that makes the API server send requests here.
var apiService = schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"}

// certificate is what the API server knows this server by. An authority and a certificate that it signed are kept in a
// Secret that all replicas read, and the authority's certificate in the APIService. The authority keeps its key when its
// certificate is renewed: so old and new certificates are all good by both, and no moment in between matters.
type certificate struct {
	reader  client.Reader
	writer  client.Client
	log     logr.Logger
	now     func() time.Time
	current atomic.Pointer[tls.Certificate]
	loaded  []byte        // the Secret's certificate that current is
	ready   chan struct{} // closed once there is one
}

// get is for a tls.Config.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// keep keeps the certificate good until the context ends.
func (c *certificate) keep(ctx context.Context) {
	for {
		period := lookPeriod
		if err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return c.sync(ctx) }); err != nil && ctx.Err() == nil {
			c.log.Error(err, "the certificate of the archive's API cannot be looked after: is config/archive installed?")
			period = retryPeriod
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
		}
	}
}

// sync renews the certificate if it is time to, lets the API server know its authority, and then serves it.
func (c *certificate) sync(ctx context.Context) error {
	service := &unstructured.Unstructured{}
	service.SetGroupVersionKind(apiService)
	if err := c.reader.Get(ctx, client.ObjectKey{Name: GroupVersion.Version + "." + GroupVersion.Group}, service); err != nil {
		return err
	}
	name, _, _ := unstructured.NestedString(service.Object, "spec", "service", "name")
	namespace, _, _ := unstructured.NestedString(service.Object, "spec", "service", "namespace")
	secret := &corev1.Secret{}
	if err := c.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: secretName}, secret); err != nil {
		return err
	}
	renewed, err := renew(secret.Data, name+"."+namespace+".svc", c.now())
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	if renewed != nil {
		secret.Data = renewed
		if err := c.writer.Update(ctx, secret); err != nil {
			return err
		}
		c.log.Info("made a new certificate for the archive's API")
	}
	bundle := base64.StdEncoding.EncodeToString(secret.Data[caCertKey])
	if known, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle"); known != bundle {
		before := service.DeepCopy()
		if err := unstructured.SetNestedField(service.Object, bundle, "spec", "caBundle"); err != nil {
			return err
		}
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := c.writer.Patch(ctx, service, patch); err != nil {
			return err
		}
	}
	if !bytes.Equal(c.loaded, secret.Data[certKey]) {
		pair, err := tls.X509KeyPair(secret.Data[certKey], secret.Data[keyKey])
		if err != nil {
			return err
		}
		c.current.Store(&pair)
		if c.loaded == nil {
			close(c.ready)
		}
		c.loaded = secret.Data[certKey]
	}
	return nil
}

// renew returns a Secret's new data, or nil while what it has is good for this host.
func renew(data map[string][]byte, host string, now time.Time) (map[string][]byte, error) {
	ca, caKey, err := parse(data[caCertKey], data[caKeyKey])
	known := err == nil && ca.IsCA
	if known && !old(ca, now) {
		if serving, _, err := parse(data[certKey], data[keyKey]); err == nil && !old(serving, now) &&
			serving.VerifyHostname(host) == nil && serving.CheckSignatureFrom(ca) == nil {
			return nil, nil
		}
	}
	if !known {
		if caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	if !known || old(ca, now) {
		ca, err = cert.NewSelfSignedCACert(cert.Config{CommonName: "batchrun-archive", NotBefore: now.Add(-skew)}, caKey)
		if err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serving, err := sign(ca, caKey, key.Public(), host, now)
	if err != nil {
		return nil, err
	}
	renewed := map[string][]byte{}
	for name, key := range map[string]crypto.Signer{caKeyKey: caKey, keyKey: key} {
		if renewed[name], err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
			return nil, err
		}
	}
	for name, c := range map[string]*x509.Certificate{caCertKey: ca, certKey: serving} {
		if renewed[name], err = cert.EncodeCertificates(c); err != nil {
			return nil, err
		}
	}
	return renewed, nil
}

// sign makes the certificate of a host.
func sign(ca *x509.Certificate, caKey crypto.Signer, key crypto.PublicKey, host string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, key, caKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// parse reads a certificate and its key.
func parse(certPEM, keyPEM []byte) (*x509.Certificate, crypto.Signer, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("the key cannot sign")
	}
	return pair.Leaf, key, nil
}

// old is true for a certificate that has a third of its life left.
func old(c *x509.Certificate, now time.Time) bool {
	return now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3))
}
