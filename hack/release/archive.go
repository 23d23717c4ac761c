package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"slices"
	"time"
)

// member is a file of an archive.
type member struct {
	name    string
	program bool
	data    []byte
}

func (m member) mode() int64 {
	if m.program {
		return 0o755
	}
	return 0o644
}

// An archive's bits depend on names, contents and the given time only: members are sorted, and nobody owns them.

func tarball(members []member, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, m := range sorted(members) {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: m.name, Mode: m.mode(), Size: int64(len(m.data)), ModTime: at, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(m.data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil { // it writes the end
		return nil, err
	}
	return out.Bytes(), nil
}

func tarGz(members []member, at time.Time) ([]byte, error) {
	plain, err := tarball(members, at)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	compressed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := compressed.Write(plain); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil { // it writes the end
		return nil, err
	}
	return out.Bytes(), nil
}

func zipped(members []member, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, m := range sorted(members) {
		file, err := archive.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Deflate, Modified: at.UTC()})
		if err != nil {
			return nil, err
		}
		if _, err := file.Write(m.data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil { // it writes the end
		return nil, err
	}
	return out.Bytes(), nil
}

// untarGz reads the files of an archive.
func untarGz(data []byte) ([]member, error) {
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var members []member
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeReg {
			members = append(members, member{name: header.Name, data: content})
		}
	}
}

func sorted(members []member) []member {
	return slices.SortedFunc(slices.Values(members), func(a, b member) int { return cmp.Compare(a.name, b.name) })
}

// files are the names of the files below a folder.
func files(folder fs.FS) (names []string, err error) {
	err = fs.WalkDir(folder, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
