package registry

import (
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/randfill"
)

// judged is what every entry of the table can be asked, its type forgotten: a new entry is fuzzed without another line.
type judged interface {
	entry
	judge(obj, old runtime.Object) field.ErrorList
	cells(obj runtime.Object) (columns, cells int)
}

func (k Kind[T]) judge(obj, old runtime.Object) field.ErrorList {
	var errs field.ErrorList
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj.(T))...)
	}
	if k.ValidateUpdate != nil {
		errs = append(errs, k.ValidateUpdate(obj.(T), old.(T))...)
	}
	if k.ValidateStatus != nil {
		errs = append(errs, k.ValidateStatus(obj.(T), old.(T))...)
	}
	if k.Warnings != nil {
		k.Warnings(obj.(T))
	}
	if k.Fields != nil {
		k.Fields(obj.(T))
	}
	if k.Scale != nil {
		k.Scale.Get(obj.(T))
	}
	return errs
}

func (k Kind[T]) cells(obj runtime.Object) (int, int) {
	return len(k.Columns.Columns), len(k.Columns.Row(obj.(T)))
}

// row is one entry with the version that it is stored in.
type row struct {
	gv schema.GroupVersion
	judged
}

func rows(t testing.TB) []row {
	t.Helper()
	var out []row
	for _, g := range groups(Deps{Storage: &Storage{}}, &Registry{}) {
		for _, e := range g.entries {
			j, ok := e.(judged)
			if !ok {
				t.Fatalf("%s: the entry is a %T, which cannot be judged", e.resource(), e)
			}
			out = append(out, row{g.gv, j})
		}
	}
	return out
}

// FuzzEveryEntry takes random objects of each kind in the table, empty and half-filled parts among them, the way that they go through the server:
// defaulted, judged alone and as updates of each other, shown, stored and read back.
func FuzzEveryEntry(f *testing.F) {
	all := rows(f)
	for kind := range all {
		for seed := range int64(8) {
			f.Add(uint8(kind), seed)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, seed int64) {
		r := all[int(kind)%len(all)]
		fill := randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 2).Funcs(
			func(q *apiresource.Quantity, c randfill.Continue) {
				*q = *apiresource.NewMilliQuantity(c.Int63()-1<<62, apiresource.DecimalSI)
			},
			func(p *intstr.IntOrString, c randfill.Continue) {
				*p = intstr.IntOrString{Type: intstr.Type(c.Intn(2)), IntVal: c.Int31(), StrVal: c.String(5)}
			},
			func(*metav1.FieldsV1, randfill.Continue) {},
			func(raw *runtime.RawExtension, c randfill.Continue) { raw.Raw = []byte(`{"a":1}`) },
		)
		empty, obj := r.example(), r.example()
		fill.Fill(obj)
		for _, o := range []runtime.Object{empty, obj} {
			Scheme.Default(o)
			once := o.DeepCopyObject()
			if Scheme.Default(o); !apiequality.Semantic.DeepEqual(once, o) {
				t.Errorf("defaults of %T are not the same the second time:\n%s", o, diff.Diff(once, o))
			}
		}
		before := obj.DeepCopyObject()
		for _, pair := range [][2]runtime.Object{{obj, obj}, {obj, empty}, {empty, obj}} {
			for _, e := range r.judge(pair[0], pair[1]) {
				_ = e.Error() // formats the value, whatever it is
			}
		}
		if want, got := r.cells(obj); want != got {
			t.Errorf("%T is shown in %d cells under %d columns", obj, got, want)
		}
		if !apiequality.Semantic.DeepEqual(before, obj) {
			t.Errorf("judging changed the %T:\n%s", obj, diff.Diff(before, obj))
		}
		readBack(t, r.gv, obj)
	})
}

// readBack stores obj in bytes and reads it again: what comes back must, stored once more, be the same bytes.
func readBack(t *testing.T, gv schema.GroupVersion, obj runtime.Object) {
	t.Helper()
	info, ok := runtime.SerializerInfoForMediaType(Codecs.SupportedMediaTypes(), mediaType(gv.Group))
	if !ok {
		t.Fatalf("no serializer for %s", mediaType(gv.Group))
	}
	codec := Codecs.CodecForVersions(info.Serializer, info.Serializer, gv, schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal})
	first, err := runtime.Encode(codec, obj)
	if err != nil {
		return // a value that cannot be encoded, such as invalid UTF-8, is refused with this error
	}
	read, err := runtime.Decode(codec, first)
	if err != nil {
		t.Fatalf("%T was stored and cannot be read: %v", obj, err)
	}
	second, err := runtime.Encode(codec, read)
	if err != nil {
		t.Fatalf("%T was read and cannot be stored again: %v", obj, err)
	}
	again, err := runtime.Decode(codec, second)
	if err != nil {
		t.Fatal(err)
	}
	if !apiequality.Semantic.DeepEqual(read, again) {
		t.Errorf("%T is another after being stored twice:\n%s", obj, diff.Diff(read, again))
	}
}
