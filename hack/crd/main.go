// Crd finishes what controller-gen starts: it reads the CustomResourceDefinition of BatchRun from standard input,
// adds what markers cannot express, and writes the definition and its reference page.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	crdFile := flag.String("crd", "", "file to write the CustomResourceDefinition to")
	referenceFile := flag.String("reference", "", "file to write the reference page to")
	flag.Parse()
	if err := run(os.Stdin, *crdFile, *referenceFile); err != nil {
		fmt.Fprintln(os.Stderr, "crd:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, crdFile, referenceFile string) error {
	generated, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the generated definition: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(generated, crd); err != nil {
		return fmt.Errorf("parsing the generated definition: %w", err)
	}
	if len(crd.Spec.Versions) != 1 {
		return fmt.Errorf("the generated definition has %d versions, want 1", len(crd.Spec.Versions))
	}
	schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := finish(schema); err != nil {
		return fmt.Errorf("finishing the definition: %w", err)
	}
	out, err := encode(crd)
	if err != nil {
		return fmt.Errorf("encoding the definition: %w", err)
	}
	if err := os.WriteFile(crdFile, out, 0o644); err != nil {
		return err
	}
	return os.WriteFile(referenceFile, reference(schema), 0o644)
}

// encode leaves out the status, which belongs to the API server.
func encode(crd *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	raw, err := json.Marshal(crd)
	if err != nil {
		return nil, err
	}
	object := map[string]any{}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	delete(object, "status")
	text, err := yaml.Marshal(object)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{[]byte("---\n"), text}, nil), nil
}
