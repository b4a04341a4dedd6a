package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Statements are made of constants, so that nothing from outside can become part of one: arguments go beside them.
// What is checked is the text of every statement and clause in the rooms that have a database, and of the SQL field of
// database.Statement.
func TestStatementsAreMadeOfConstants(t *testing.T) {
	p := loadProgram(t, "restic-manager/server/database", "restic-manager/server/fleet", "restic-manager/server/access", "restic-manager/server/vault", "restic-manager/server/policy", "restic-manager/server/keeper", "restic-manager/server")
	n := 0
	for _, pkg := range p.packages {
		for _, f := range pkg.files {
			ast.Inspect(f, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.CallExpr:
					if err := p.condition(pkg, node); err != nil {
						t.Errorf("%s: %v", p.fset.Position(node.Pos()), err)
					}
					for _, text := range p.statement(pkg, node) {
						n++
						if err := p.constant(pkg, text, map[any]bool{}); err != nil {
							t.Errorf("%s: %v", p.fset.Position(text.Pos()), err)
						}
					}
				case *ast.KeyValueExpr:
					if key, ok := node.Key.(*ast.Ident); ok && key.Name == "SQL" && p.fieldOf(pkg, key) == "Statement" {
						n++
						if err := p.constant(pkg, node.Value, map[any]bool{}); err != nil {
							t.Errorf("%s: %v", p.fset.Position(node.Pos()), err)
						}
					}
				}
				return true
			})
		}
	}
	t.Logf("%d texts of SQL", n)
	if n < 150 {
		t.Errorf("%d texts of SQL were found, want 150 and more: the check looks at the wrong place", n)
	}
}

// The check itself finds what it is there for.
func TestACheckOfStatementsFindsWhatIsPutTogether(t *testing.T) {
	const source = `package x
import "gorm.io/gorm"
import "strings"
const fine = "id = ?"
func suffix(yes bool) string { if yes { return " FOR UPDATE" }; return "" }
func bad(in string) string { return " WHERE " + in }
func f(db *gorm.DB, id string, sort string) {
	db.Where(fine+suffix(true), id)
	query := "SELECT 1"
	query += " FROM hosts"
	db.Raw(query)
	db.Take(&struct{}{}, "id = ?", id) // bad
	db.Delete(&struct{}{}, id)         // bad
	db.Order(sort)                     // bad
	db.Raw("SELECT 1" + bad(id))       // bad
	db.Where("id = '" + id + "'")      // bad
	other := "SELECT 2"
	other += id
	db.Exec(other) // bad
	db.Where(gorm.Expr(sort)) // bad
	list, _ := many(id)
	db.Where(strings.Join(list, " AND ")) // bad
	list, _ = few(id)
	db.Having(list[0]) // bad
	sound, _ := few(id)
	db.Having(sound[0])
	g(db, "constant")
	g(db, sort)
}
func many(in string) (list []string, err error) {
	add := func(condition string) { list = append(list, condition) }
	add("a = ?")
	add(in)
	return list, nil
}
func few(in string) (list []string, err error) {
	list = append(list, "b = ?")
	return list, nil
}
func g(db *gorm.DB, where string) { db.Group(where) } // bad
`
	p := loadProgram(t)
	pkg := p.check(t, "x", []string{"x.go"}, source)
	found := map[int]bool{}
	ast.Inspect(pkg.files[0], func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			if p.condition(pkg, call) != nil {
				found[p.fset.Position(call.Pos()).Line] = true
			}
			for _, text := range p.statement(pkg, call) {
				if p.constant(pkg, text, map[any]bool{}) != nil {
					found[p.fset.Position(text.Pos()).Line] = true
				}
			}
		}
		return true
	})
	line := 0
	for text := range strings.Lines(source) {
		if line++; strings.Contains(text, "// bad") != found[line] {
			t.Errorf("line %d is found: %v: %s", line, found[line], text)
		}
	}
}

// program is our packages with their types, and the types of what they import from the compiler's export data.
type program struct {
	fset     *token.FileSet
	imports  types.Importer
	packages []*checked
}

type checked struct {
	files []*ast.File
	info  *types.Info
}

func loadProgram(t *testing.T, paths ...string) *program {
	t.Helper()
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	// The program itself too, for what it imports.
	out, err := exec.Command("go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "restic-manager/server"}, paths...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]listed{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all[l.ImportPath] = l
	}
	p := &program{fset: token.NewFileSet()}
	p.imports = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(all[path].Export) })
	for _, path := range paths {
		var files []string
		for _, f := range all[path].GoFiles {
			files = append(files, filepath.Join(all[path].Dir, f))
		}
		p.packages = append(p.packages, p.check(t, path, files, nil))
	}
	return p
}

func (p *program) check(t *testing.T, path string, files []string, source any) *checked {
	t.Helper()
	pkg := &checked{info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}}
	for _, name := range files {
		f, err := parser.ParseFile(p.fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		pkg.files = append(pkg.files, f)
	}
	if _, err := (&types.Config{Importer: p.imports}).Check(path, p.fset, pkg.files, pkg.info); err != nil {
		t.Fatal(err)
	}
	return pkg
}

// clauses are the methods of *gorm.DB whose first argument is SQL; looks are those whose second, where there is one, is:
// a text there is a condition, so there may be none.
var (
	clauses = []string{"Raw", "Exec", "Where", "Or", "Not", "Order", "Select", "Group", "Having", "Joins", "Table", "Distinct", "Pluck", "InnerJoins"}
	looks   = []string{"First", "Take", "Last", "Delete", "Find", "FirstOrCreate", "FirstOrInit"}
)

// statement gives the arguments of a call that are SQL.
func (p *program) statement(pkg *checked, call *ast.CallExpr) []ast.Expr {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	name := sel.Sel.Name
	if fn, ok := pkg.info.Uses[sel.Sel].(*types.Func); !ok || fn.Pkg() == nil || fn.Pkg().Path() != "gorm.io/gorm" {
		return nil
	}
	switch {
	case name == "Expr", slices.Contains(clauses, name):
		if inner, ok := call.Args[0].(*ast.CallExpr); ok && name != "Expr" {
			if s, ok := inner.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Expr" {
				return nil // looked at by itself
			}
		}
		return call.Args[:1]
	}
	return nil
}

// condition is an error when the call looks by a text in its second place, where a number or a primary key from
// outside may stand as well: Where says the same.
func (p *program) condition(pkg *checked, call *ast.CallExpr) error {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 2 || !slices.Contains(looks, sel.Sel.Name) {
		return nil
	}
	if fn, ok := pkg.info.Uses[sel.Sel].(*types.Func); !ok || fn.Pkg() == nil || fn.Pkg().Path() != "gorm.io/gorm" {
		return nil
	}
	if !isText(pkg.info.Types[call.Args[1]].Type) {
		return nil
	}
	return fmt.Errorf("%s takes a text as its condition; write Where", sel.Sel.Name)
}

// fieldOf names the type of the struct that a key of a literal belongs to.
func (p *program) fieldOf(pkg *checked, key *ast.Ident) string {
	v, ok := pkg.info.Uses[key].(*types.Var)
	if !ok || !v.IsField() || v.Pkg() == nil || !strings.HasSuffix(v.Pkg().Path(), "/database") {
		return ""
	}
	return "Statement"
}

// constant is an error unless the expression can only be made of texts in the source. seen ends circles: what is made
// of itself and constants is made of constants.
func (p *program) constant(pkg *checked, e ast.Expr, seen map[any]bool) error {
	if tv, ok := pkg.info.Types[e]; ok {
		if tv.Value != nil || tv.IsNil() {
			return nil
		}
		if b, ok := tv.Type.Underlying().(*types.Basic); ok && b.Info()&types.IsString == 0 {
			return fmt.Errorf("%s is no text of SQL", types.ExprString(e))
		}
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return p.constant(pkg, e.X, seen)
	case *ast.BinaryExpr:
		return errors.Join(p.constant(pkg, e.X, seen), p.constant(pkg, e.Y, seen))
	case *ast.Ident:
		return p.variable(pkg, pkg.info.Uses[e], seen)
	case *ast.SelectorExpr:
		return p.variable(pkg, pkg.info.Uses[e.Sel], seen)
	case *ast.CallExpr:
		return p.call(pkg, e, 0, seen)
	case *ast.IndexExpr:
		return p.constant(pkg, e.X, seen)
	case *ast.CompositeLit:
		var bad error
		for _, part := range e.Elts {
			if kv, ok := part.(*ast.KeyValueExpr); ok {
				part = kv.Value
			}
			bad = errors.Join(bad, p.constant(pkg, part, seen))
		}
		return bad
	}
	return fmt.Errorf("%s is not made of constants", types.ExprString(e))
}

// call follows a function of ours to what it returns in that place, and strings.Join and append to what they join.
func (p *program) call(pkg *checked, e *ast.CallExpr, place int, seen map[any]bool) error {
	var id *ast.Ident
	switch fn := e.Fun.(type) {
	case *ast.Ident:
		id = fn
	case *ast.SelectorExpr:
		id = fn.Sel
	default:
		return fmt.Errorf("%s is not made of constants", types.ExprString(e))
	}
	obj := pkg.info.Uses[id]
	if b, ok := obj.(*types.Builtin); ok && b.Name() == "append" || obj != nil && obj.Pkg() != nil && obj.Pkg().Path() == "strings" && (obj.Name() == "Join" || obj.Name() == "Repeat" || obj.Name() == "TrimPrefix") {
		var bad error
		for _, a := range e.Args {
			if tv := pkg.info.Types[a]; tv.Type != nil {
				if b, ok := tv.Type.Underlying().(*types.Basic); ok && b.Info()&types.IsInteger != 0 {
					continue // how often
				}
			}
			bad = errors.Join(bad, p.constant(pkg, a, seen))
		}
		return bad
	}
	if seen[obj] {
		return nil
	}
	seen[obj] = true
	for _, other := range p.all(pkg) {
		for _, f := range other.files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || !same(other.info.Defs[fn.Name], obj) || fn.Body == nil {
					continue
				}
				return p.results(other, fn.Body, place, seen)
			}
		}
	}
	return fmt.Errorf("%s: what it returns is not known here", types.ExprString(e))
}

func (p *program) results(pkg *checked, body *ast.BlockStmt, place int, seen map[any]bool) (bad error) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ReturnStmt:
			if place >= len(n.Results) {
				bad = errors.Join(bad, errors.New("a return that does not say what"))
				return true
			}
			bad = errors.Join(bad, p.constant(pkg, n.Results[place], seen))
		}
		return true
	})
	return bad
}

func isText(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsString != 0
}

func (p *program) all(pkg *checked) []*checked {
	if slices.Contains(p.packages, pkg) {
		return p.packages
	}
	return append([]*checked{pkg}, p.packages...)
}

// same also knows what another package sees of this one: an import has objects of its own.
func same(a, b types.Object) bool {
	if a == nil || b == nil || a == b {
		return a == b && a != nil
	}
	return a.Pkg() != nil && b.Pkg() != nil && a.Pkg() != b.Pkg() && a.Pkg().Path() == b.Pkg().Path() && a.Name() == b.Name() && types.TypeString(a.Type(), nil) == types.TypeString(b.Type(), nil)
}

// variable follows a name to everything that is ever put into it: assignments, declarations, fields of literals, what a
// loop goes over, and for a parameter what every caller gives.
func (p *program) variable(pkg *checked, obj types.Object, seen map[any]bool) error {
	if _, ok := obj.(*types.Const); ok || obj != nil && seen[obj] {
		return nil
	}
	v, ok := obj.(*types.Var)
	if !ok {
		return fmt.Errorf("%v is not made of constants", obj)
	}
	seen[obj] = true
	var bad error
	found := 0
	add := func(in *checked, e ast.Expr) {
		found++
		if err := p.constant(in, e, seen); err != nil {
			bad = errors.Join(bad, fmt.Errorf("%s is %w", v.Name(), err))
		}
	}
	is := func(in *checked, e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return same(in.info.Uses[e], obj) || same(in.info.Defs[e], obj)
		case *ast.SelectorExpr:
			return same(in.info.Uses[e.Sel], obj)
		}
		return false
	}
	for _, in := range p.all(pkg) {
		for _, f := range in.files {
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					for i, left := range n.Lhs {
						if call, ok := n.Rhs[0].(*ast.CallExpr); ok && is(in, left) && len(n.Rhs) < len(n.Lhs) {
							found++
							bad = errors.Join(bad, p.call(in, call, i, seen))
						} else if is(in, left) {
							add(in, n.Rhs[min(i, len(n.Rhs)-1)])
						}
						if id, ok := left.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) {
							if _, ok := n.Rhs[i].(*ast.FuncLit); ok {
								p.parameters(in, cmp.Or(in.info.Defs[id], in.info.Uses[id]), v, add)
							}
						}
					}
				case *ast.ValueSpec:
					for i, name := range n.Names {
						if is(in, name) && len(n.Values) > 0 {
							add(in, n.Values[min(i, len(n.Values)-1)])
						} else if is(in, name) {
							found++ // empty at first
						}
					}
				case *ast.RangeStmt:
					if n.Value != nil && is(in, n.Value) {
						add(in, n.X)
					}
				case *ast.CompositeLit:
					p.fields(in, n, obj, add)
				case *ast.FuncDecl:
					if def, ok := in.info.Defs[n.Name].(*types.Func); ok {
						p.parameters(in, def, v, add)
					}
				}
				return true
			})
		}
	}
	if found == 0 {
		return fmt.Errorf("%s: where it comes from is not known here", v.Name())
	}
	return bad
}

// fields finds what a literal of a struct puts into the field.
func (p *program) fields(in *checked, lit *ast.CompositeLit, obj types.Object, add func(*checked, ast.Expr)) {
	tv, ok := in.info.Types[lit]
	if !ok {
		return
	}
	t := tv.Type.Underlying()
	if ptr, ok := t.(*types.Pointer); ok { // an element of a list of pointers
		t = ptr.Elem().Underlying()
	}
	s, ok := t.(*types.Struct)
	if !ok {
		return
	}
	for i, e := range lit.Elts {
		if kv, ok := e.(*ast.KeyValueExpr); ok {
			if id, ok := kv.Key.(*ast.Ident); ok && same(in.info.Uses[id], obj) {
				add(in, kv.Value)
			}
		} else if i < s.NumFields() && same(s.Field(i), obj) {
			add(in, e)
		}
	}
}

// parameters finds what every caller of the function, or of the variable that holds one, gives for the parameter.
func (p *program) parameters(in *checked, fn types.Object, v *types.Var, add func(*checked, ast.Expr)) {
	if fn == nil {
		return
	}
	signature, ok := fn.Type().(*types.Signature)
	if !ok {
		return
	}
	at := slices.Index(slices.Collect(signature.Params().Variables()), v)
	if at < 0 {
		return
	}
	for _, from := range p.all(in) {
		for _, f := range from.files {
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || at >= len(call.Args) {
					return true
				}
				id, _ := call.Fun.(*ast.Ident)
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
					id = sel.Sel
				}
				if id != nil && same(from.info.Uses[id], fn) {
					add(from, call.Args[at])
				}
				return true
			})
		}
	}
}
