package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
)

// Fingerprint tells one cluster from another, by the authority that its API server's certificate is from, or else its
// address. An operator deletes archived logs only where they have its cluster's: others may share the bucket.
func Fingerprint(config *rest.Config) (string, error) {
	known := config.CAData
	if len(known) == 0 && config.CAFile != "" {
		var err error
		if known, err = os.ReadFile(config.CAFile); err != nil {
			return "", fmt.Errorf("reading the cluster's certificate authority: %w", err)
		}
	}
	if len(known) == 0 {
		known = []byte(config.Host)
	}
	sum := sha256.Sum256(known)
	return hex.EncodeToString(sum[:8]), nil
}
