package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/batchrun/batchrun/cmd/kubectl-batchrun/internal/manifest"
)

// addFiles adds the flag for the files that a command reads.
func addFiles(command *cobra.Command, files *[]string, what string) {
	command.Flags().StringArrayVarP(files, "filename", "f", nil, what+" A file, a folder, or - for the input. May be given several times.")
	if err := errors.Join(command.MarkFlagRequired("filename"), command.MarkFlagFilename("filename", "yaml", "yml", "json")); err != nil {
		panic(err) // the flag is part of the build
	}
}

// read reads the documents of files, of all YAML and JSON files of folders, and of the input for "-".
func (p *plugin) read(files []string) ([]*manifest.Document, error) {
	var documents []*manifest.Document
	for _, file := range files {
		names, err := expand(file)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			var content []byte
			if name == "-" {
				content, err = io.ReadAll(p.In)
			} else {
				content, err = os.ReadFile(name)
			}
			if err != nil {
				return nil, err
			}
			documents = append(documents, manifest.Parse(name, content)...)
		}
	}
	if len(documents) == 0 {
		return nil, fmt.Errorf("nothing to read in %v", files)
	}
	return documents, nil
}

func expand(file string) ([]string, error) {
	info, err := os.Stat(file)
	if file == "-" || err == nil && !info.IsDir() {
		return []string{file}, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		found, err := filepath.Glob(filepath.Join(file, pattern))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return names, nil
}
