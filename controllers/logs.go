package controllers

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// LogReader reads the logs of pods.
type LogReader interface {
	// Tail returns the end of a container's log, at most so many lines and 64 KiB.
	Tail(ctx context.Context, namespace, pod, container string, lines int64) ([]byte, error)
}

const (
	logTimeout   = 5 * time.Second
	maxTailBytes = 64 << 10
)

// PodLogs reads logs through the API server's pods/log.
type PodLogs struct{ Client kubernetes.Interface }

// Tail implements LogReader.
func (p PodLogs) Tail(ctx context.Context, namespace, pod, container string, lines int64) ([]byte, error) {
	stream, err := p.Client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, TailLines: ptr.To(lines)}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the log of pod %s: %w", pod, err)
	}
	defer stream.Close()
	return readEnd(stream, maxTailBytes)
}

// readEnd reads a stream to its end and returns its last limit bytes.
func readEnd(stream io.Reader, limit int) ([]byte, error) {
	var end []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := stream.Read(chunk)
		end = append(end, chunk[:n]...)
		if len(end) > 2*limit {
			end = append(end[:0], end[len(end)-limit:]...)
		}
		if err == io.EOF {
			return end[max(0, len(end)-limit):], nil
		}
		if err != nil {
			return nil, err
		}
	}
}
