// Package plans holds tests only: how both databases answer what people may ask of a large fleet.
package plans
