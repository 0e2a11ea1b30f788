package nlg

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// taskReaders are the readers of a task by extension.
var taskReaders = map[string]map[string]func(io.Reader) (Set, error){
	"e2e":     {".csv": readE2ESet},
	"webnlg":  {".xml": ReadWebNLG, ".json": ReadWebNLGJSON},
	"dart":    {".json": ReadDART, ".xml": ReadDARTXML},
	"scitldr": {".jsonl": ReadSciTLDR},
	"jsonl":   {".jsonl": readJSONLSet},
	"table":   {".csv": readTableSet, ".parquet": readParquetSet},
}

// Tasks lists the tasks of ReadSet.
func Tasks() []string { return []string{"e2e", "webnlg", "dart", "scitldr", "jsonl", "table"} }

// TaskOf guesses the task of a data set from its name: .csv is e2e, .jsonl jsonl,
// .json dart, .parquet table, and .xml, a folder and an archive webnlg. It returns "" for others.
func TaskOf(name string) string {
	if _, _, ok := cutArchive(name); ok {
		return "webnlg"
	}
	switch strings.ToLower(filepath.Ext(strings.TrimSuffix(name, ".gz"))) {
	case ".csv":
		return "e2e"
	case ".jsonl":
		return "jsonl"
	case ".json":
		return "dart"
	case ".parquet":
		return "table"
	case ".xml", "":
		return "webnlg"
	}
	return ""
}

// ReadSet reads a data set of a task as prompts with texts, linearised as the
// pipeline of LoRA does it:
//
//   - e2e: CSV, see ReadE2E and LinearizeMR;
//   - webnlg: XML, see ReadWebNLG, or JSON, see ReadWebNLGJSON;
//   - dart: JSON, see ReadDART, or XML, see ReadDARTXML;
//   - scitldr: JSON Lines, see ReadSciTLDR;
//   - jsonl: JSON Lines, see ReadJSONL;
//   - table: CSV with the columns prompt and completion, see ReadTable, or Parquet,
//     see ReadParquet.
//
// A file may be packed (.gz). name may also be a folder or a .tar.gz archive: all
// files of the task below it are one set, in the order of their paths;
// "sets.tar.gz:webnlg/dev" takes those below a folder of the archive. Examples are
// the records of the files, see Group. It returns an error for a set without
// records.
func ReadSet(task, name string) (Set, error) {
	readers, ok := taskReaders[task]
	if !ok {
		return Set{}, fmt.Errorf("nlg: task %q is none of %s", task, strings.Join(Tasks(), ", "))
	}
	var set Set
	files := 0
	err := eachFile(name, func(file, ext string, r io.Reader) error {
		read := readers[ext]
		if read == nil {
			return errOther
		}
		files++
		part, err := read(r)
		if err != nil {
			return InFile(file, err)
		}
		set.merge(part)
		return nil
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("nlg: %s: no file of %s, which has the extension %s, also with .gz", name, task, strings.Join(extensions(readers), " or "))
	}
	if err != nil {
		return Set{}, err
	}
	if len(set.Examples) == 0 {
		return Set{}, fmt.Errorf("nlg: %s: no records (%s)", name, set)
	}
	return set, nil
}

func extensions(readers map[string]func(io.Reader) (Set, error)) []string {
	var list []string
	for ext := range readers {
		list = append(list, ext)
	}
	slices.Sort(list)
	return list
}

// errOther says that a file is none of the task's: an error for a file that was
// named, not for one that was found.
var errOther = errors.New("other file")

// eachFile calls f with the file, or the files below the folder or in the archive,
// of that name. f returns errOther for a file it does not read.
func eachFile(name string, f func(file, ext string, r io.Reader) error) error {
	if archive, below, ok := cutArchive(name); ok {
		return eachMember(archive, below, f)
	}
	return filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("nlg: %w", err)
		}
		if d.IsDir() {
			return nil
		}
		r, ext, err := Open(file)
		if err != nil {
			return err
		}
		err = f(file, ext, r)
		if err == errOther {
			err = nil
		}
		if e := r.Close(); err == nil {
			err = e
		}
		return err
	})
}

// archiveExt is the extension of the archives that eachFile reads.
const archiveExt = ".tar.gz"

// maxArchive bounds what is held of an archive.
const maxArchive = 256 << 20

// cutArchive splits "sets.tar.gz:folder".
func cutArchive(name string) (archive, below string, ok bool) {
	if strings.HasSuffix(name, archiveExt) {
		return name, ".", true
	}
	at := strings.LastIndex(name, archiveExt+":")
	if at < 0 {
		return "", "", false
	}
	at += len(archiveExt)
	return name[:at], path.Clean(name[at+1:]), true
}

// eachMember is eachFile of an archive, whose files are put in the order in which
// a folder has them.
func eachMember(archive, below string, f func(file, ext string, r io.Reader) error) error {
	r, _, err := Open(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	type member struct {
		name string
		data []byte
	}
	var members []member
	left := int64(maxArchive)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("nlg: %s: %w", archive, err)
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || below != "." && name != below && !strings.HasPrefix(name, below+"/") {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(t, left+1))
		if err != nil {
			return fmt.Errorf("nlg: %s: %s: %w", archive, name, err)
		}
		if left -= int64(len(data)); left < 0 {
			return fmt.Errorf("nlg: %s: the files in it have more than %d bytes, the limit", archive, maxArchive)
		}
		members = append(members, member{name, data})
	}
	slices.SortFunc(members, func(a, b member) int {
		return slices.Compare(strings.Split(a.name, "/"), strings.Split(b.name, "/"))
	})
	for _, m := range members {
		err := f(archive+":"+m.name, strings.ToLower(path.Ext(m.name)), bytes.NewReader(m.data))
		if err != nil && err != errOther {
			return err
		}
	}
	return nil
}

// readE2ESet reads E2E with its meaning representations linearised.
func readE2ESet(r io.Reader) (Set, error) {
	rows, err := ReadE2E(r)
	if err != nil {
		return Set{}, err
	}
	for i := range rows {
		if rows[i].Source, err = LinearizeMR(rows[i].Source); err != nil {
			return Set{}, fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return withoutBlanks(rows), nil
}

func readJSONLSet(r io.Reader) (Set, error) {
	rows, err := ReadJSONL(r)
	if err != nil {
		return Set{}, err
	}
	return withoutBlanks(rows), nil
}

// withoutBlanks leaves out blank texts and changes no other.
func withoutBlanks(rows []Example) Set {
	var set Set
	for _, row := range rows {
		texts := slices.DeleteFunc(slices.Clone(row.References), func(text string) bool {
			_, ok := set.keepText(text)
			return !ok
		})
		set.add(row.Source, texts, len(row.References))
	}
	return set
}
