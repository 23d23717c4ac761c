package main

import (
	"fmt"
	"os"
)

// services lists the processes of the cluster that `up` starts itself.
func (c *Cluster) services() []service {
	list := []service{c.etcd(), c.apiserver(), c.controllerManager(), c.scheduler()}
	switch c.Node {
	case NodeReal:
		list = append(list, c.nodeService())
	case NodeFake:
		list = append(list, c.kwok())
	}
	return list
}

func (c *Cluster) service(name string, args ...string) service {
	return service{name: name, path: c.bin(name), args: args}
}

func loopback(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port) }

func port(flag string, port int) string { return fmt.Sprintf("--%s=%d", flag, port) }

func (c *Cluster) etcd() service {
	client, peer := loopback("https", c.Ports.Etcd), loopback("https", c.Ports.EtcdPeer)
	s := c.service("etcd",
		"--name=etcd", "--data-dir="+c.path("etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=etcd="+peer,
		"--client-cert-auth", "--trusted-ca-file="+c.cert("ca"), "--cert-file="+c.cert("etcd"), "--key-file="+c.key("etcd"),
		"--peer-client-cert-auth", "--peer-trusted-ca-file="+c.cert("ca"), "--peer-cert-file="+c.cert("etcd"), "--peer-key-file="+c.key("etcd"),
		// The default of 2 GB is soon full of the pods of a test of size.
		"--log-level=warn", "--quota-backend-bytes=8589934592",
	)
	if !c.EtcdFsync {
		s.args = append(s.args, "--unsafe-no-fsync")
	}
	return s
}

func (c *Cluster) apiserver() service {
	s := c.service("kube-apiserver",
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", port("secure-port", c.Ports.API),
		"--etcd-servers="+loopback("https", c.Ports.Etcd), "--etcd-cafile="+c.cert("ca"),
		"--etcd-certfile="+c.cert("apiserver"), "--etcd-keyfile="+c.key("apiserver"),
		// A loopback address cannot be an endpoint of the service `kubernetes`.
		"--endpoint-reconciler-type=none",
		"--authorization-mode=Node,RBAC", "--allow-privileged",
		"--client-ca-file="+c.cert("ca"), "--tls-cert-file="+c.cert("apiserver"), "--tls-private-key-file="+c.key("apiserver"),
		"--kubelet-preferred-address-types=InternalIP", "--kubelet-certificate-authority="+c.cert("ca"),
		"--kubelet-client-certificate="+c.cert("apiserver"), "--kubelet-client-key="+c.key("apiserver"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.key("service-accounts"), "--service-account-signing-key-file="+c.key("service-accounts"),
		"--requestheader-client-ca-file="+c.cert("ca"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+c.cert("front-proxy"), "--proxy-client-key-file="+c.key("front-proxy"),
		"--service-cluster-ip-range=10.0.0.0/24",
	)
	if c.Audit {
		s.args = append(s.args, "--audit-policy-file="+c.path("audit-policy.yaml"), "--audit-log-path="+c.path("logs", "audit.log"))
	}
	return s
}

func (c *Cluster) controllerManager() service {
	kubeconfig := c.path("pki", "controller-manager.kubeconfig")
	s := c.service("kube-controller-manager",
		"--bind-address=127.0.0.1", port("secure-port", c.Ports.ControllerManager),
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--leader-elect=false", "--use-service-account-credentials",
		"--service-account-private-key-file="+c.key("service-accounts"), "--root-ca-file="+c.cert("ca"),
		"--cluster-signing-cert-file="+c.cert("ca"), "--cluster-signing-key-file="+c.key("ca"),
		// It makes this folder, by default in /usr/libexec.
		"--flex-volume-plugin-dir="+c.path("volume-plugins"),
	)
	if !c.DefaultLimits {
		s.args = append(s.args, append(raisedLimits(), "--concurrent-job-syncs=20")...)
	}
	return s
}

func (c *Cluster) scheduler() service {
	kubeconfig := c.path("pki", "scheduler.kubeconfig")
	s := c.service("kube-scheduler",
		"--bind-address=127.0.0.1", port("secure-port", c.Ports.Scheduler),
		"--kubeconfig="+kubeconfig, "--authentication-kubeconfig="+kubeconfig, "--authorization-kubeconfig="+kubeconfig,
		"--leader-elect=false",
	)
	if !c.DefaultLimits {
		s.args = append(s.args, raisedLimits()...)
	}
	return s
}

// raisedLimits lets tests wait for what they test and not for the 20 requests a
// second that are the default: 1,000 pods of a Job take 13 s instead of 100 s.
func raisedLimits() []string { return []string{"--kube-api-qps=2000", "--kube-api-burst=4000"} }

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// writeControlPlaneFiles writes what the control plane reads besides its keys.
func (c *Cluster) writeControlPlaneFiles() error {
	if err := os.MkdirAll(c.path("etcd"), 0o700); err != nil {
		return err
	}
	return writeFile(c.path("audit-policy.yaml"), []byte(auditPolicy), 0o644)
}
