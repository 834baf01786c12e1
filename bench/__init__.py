"""The benchmark: everynode side by side with what people use today, on two hosts of one machine."""
