// Package env computes the environment of containers, and what else of a Pod is given to them as text.
//
// In: a Pod, one of its containers, the ConfigMaps and Secrets it refers to, the Services of its namespace, the Pod's addresses.
// Out: variables in the order of their definition; command lines with $(NAME) expanded; values of downward fields.
//
// It is pure: objects come in through a Sources value, and nothing is fetched or kept.
package env
