"""What computes: onnxruntime or OpenVINO for the models that ship, torch for the networks of the literature."""
