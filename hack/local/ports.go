package main

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Ports are the loopback ports of one cluster.
type Ports struct {
	API               int `json:"api"`
	Etcd              int `json:"etcd"`
	EtcdPeer          int `json:"etcdPeer"`
	ControllerManager int `json:"controllerManager"`
	Scheduler         int `json:"scheduler"`
	Kubelet           int `json:"kubelet"`
	Registry          int `json:"registry"`
	Fake              int `json:"fake"`
	Probes            int `json:"probes"`
}

// Ports are taken below Linux' range for outgoing connections (32768 and up),
// so that no client can sit on one while a part of the cluster restarts.
const (
	firstPort  = 20000
	lastPort   = 31999
	blockSize  = 10
	blockCount = (lastPort - firstPort + 1) / blockSize
)

func portsAt(base int) Ports {
	return Ports{API: base, Etcd: base + 1, EtcdPeer: base + 2, ControllerManager: base + 3,
		Scheduler: base + 4, Kubelet: base + 5, Registry: base + 6, Fake: base + 7, Probes: base + 8}
}

// choosePorts picks a block of ports that is free and that no other cluster
// was given. It starts looking at a place that depends on the id, so clusters of
// different checkouts seldom look at the same one.
func choosePorts(id string, taken map[int]bool, free func(port int) bool) (Ports, error) {
	start := int(hash(id) % blockCount)
	for i := range blockCount {
		base := firstPort + (start+i)%blockCount*blockSize
		ok := !taken[base]
		for port := base; ok && port < base+blockSize; port++ {
			ok = free(port)
		}
		if ok {
			return portsAt(base), nil
		}
	}
	return Ports{}, fmt.Errorf("no %d free ports in a row between %d and %d", blockSize, firstPort, lastPort)
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// chooseSubnet picks the /24 for the pods of a cluster, out of 10.128.0.0/9,
// that no route of the machine and no other cluster uses.
func chooseSubnet(id string, taken []netip.Prefix) (netip.Prefix, error) {
	const count = 128 * 256
	start := int(hash(id) % count)
	for i := range count {
		n := (start + i) % count
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + n/256), byte(n % 256), 0}), 24)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(subnet)
		}
		if free {
			return subnet, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free /24 in 10.128.0.0/9 for pods")
}

// routes reads the destinations of the machine's IPv4 routes, without the
// default route.
func routes(table string) []netip.Prefix {
	var out []netip.Prefix
	for line := range strings.SplitSeq(table, "\n") {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		var dest, mask uint32
		if _, err := fmt.Sscanf(f[1]+" "+f[7], "%X %X", &dest, &mask); err != nil {
			continue
		}
		// The kernel prints both in the byte order of the machine, little-endian.
		addr := netip.AddrFrom4([4]byte{byte(dest), byte(dest >> 8), byte(dest >> 16), byte(dest >> 24)})
		bits := 0
		for m := mask; m != 0; m &= m - 1 {
			bits++
		}
		if bits > 0 {
			out = append(out, netip.PrefixFrom(addr, bits))
		}
	}
	return out
}

func machineRoutes() []netip.Prefix {
	table, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil
	}
	return routes(string(table))
}

func hash(s string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(s))
	return h.Sum32()
}

// assign gives the cluster its ports and pod subnet, under a lock, so that two
// clusters that start at the same time get different ones.
func (c *Cluster) assign() error {
	unlock, err := lockFile(filepath.Join(c.home, ".local", "locks", ".assign"))
	if err != nil {
		return err
	}
	defer unlock()
	taken, subnets, err := c.takenByOthers()
	if err != nil {
		return err
	}
	if c.Ports, err = choosePorts(c.id(), taken, portFree); err != nil {
		return err
	}
	subnet, err := chooseSubnet(c.id(), append(subnets, machineRoutes()...))
	if err != nil {
		return err
	}
	c.Subnet = subnet.String()
	return c.save()
}

func (c *Cluster) takenByOthers() (map[int]bool, []netip.Prefix, error) {
	names, err := clusterNames(c.home)
	if err != nil {
		return nil, nil, err
	}
	ports, subnets := map[int]bool{}, []netip.Prefix{}
	for _, name := range names {
		other, err := newCluster(c.home, name)
		if err != nil || name == c.Name || other.load() != nil {
			continue
		}
		ports[other.Ports.API] = true
		if p, err := netip.ParsePrefix(other.Subnet); err == nil {
			subnets = append(subnets, p)
		}
	}
	return ports, subnets, nil
}

// overlapsRoutes tells whether some route leads into the subnet.
func overlapsRoutes(subnet string, table []netip.Prefix) bool {
	prefix, err := netip.ParsePrefix(subnet)
	if err != nil {
		return false
	}
	for _, r := range table {
		// A wider route, such as a VPN's 10.0.0.0/8, is not the cluster's.
		if r.Bits() >= prefix.Bits() && r.Overlaps(prefix) {
			return true
		}
	}
	return false
}
