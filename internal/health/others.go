package health

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

func service(o object) Health {
	if o.text("spec", "type") != "LoadBalancer" {
		return healthy
	}
	ingress, _, err := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	if err == nil && len(ingress) == 0 {
		return progressing("no load balancer has given it an address yet")
	}
	return healthy
}

// claim: one that waits for its first Pod is as healthy as it can be, because the Pod may come with a later object of the same commit.
func claim(o object) Health {
	switch phase := o.text("status", "phase"); phase {
	case "Bound":
		return healthy
	case "Lost":
		return degraded("its volume is lost")
	default:
		return progressing("not bound to a volume yet")
	}
}

func namespace(o object) Health {
	if o.text("status", "phase") == "Terminating" {
		return progressing("it is being deleted")
	}
	return healthy
}

func disruptionBudget(o object) Health {
	if !o.seen() {
		return progressing("the controller has not seen this version yet")
	}
	return healthy
}

func autoscaler(o object) Health {
	if c, ok := o.condition("AbleToScale"); ok && c.status == "False" {
		return degraded("not able to scale: %s", c.why())
	}
	return healthy
}

func definition(o object) Health {
	if c, ok := o.condition("NamesAccepted"); ok && c.status == "False" {
		return degraded("its names are taken: %s", c.why())
	}
	if c, ok := o.condition("Established"); ok && c.status == "True" {
		return healthy
	}
	return progressing("not established yet")
}

// application: an Application that holds Applications is as healthy as they are.
func application(o object) Health {
	if suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); suspended {
		return healthy
	}
	if !o.observed() || o.number(0, "status", "observedGeneration") == 0 {
		return progressing("it has not been looked at yet")
	}
	if o.text("status", "sync") == "Failed" {
		c, _ := o.condition("Synced")
		return degraded("its commit was refused: %s", c.message)
	}
	switch Status(o.text("status", "health")) {
	case Degraded:
		c, _ := o.condition("Healthy")
		return degraded("%s", first(c.message, "see its status"))
	case Healthy:
		return healthy
	}
	if c, ok := o.condition("SourceReady"); ok && c.status == "False" {
		return progressing("its source cannot be read: %s", c.message)
	}
	return progressing("its objects are not healthy yet")
}
