"""Tables, figures and the HTML report, read only from run folders."""
